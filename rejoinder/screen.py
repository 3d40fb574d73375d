"""Shows a played meeting in the terminal."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape

from rejoinder.player import Played, percentile
from schemas.speech import speaker_name_of

__all__ = ["Screen"]

SHORT = 40


class Screen:
    """Prints captions by speaker, questions, and answers as they stream."""

    def __init__(self, names: Mapping[str, str], console: Console | None = None) -> None:
        """Show speakers by these names (participant id -> name)."""
        self.names = dict(names)
        self._console = console or Console(highlight=False)
        self._writing: str | None = None
        self._said_by: dict[str, str] = {}

    def _caption(self, event: dict[str, Any]) -> None:
        """Print a caption once; when it becomes known, or turns out, who said it, say so."""
        speaker, caption_id = event["speaker"] or "", event["caption_id"]
        if self._said_by.get(caption_id) == speaker:
            return
        name = self.names.get(speaker) or speaker_name_of(speaker) or "?"
        text = escape(event["text"])
        if caption_id in self._said_by:
            text = f"[dim]said that: {text if len(text) <= SHORT else text[:SHORT] + '...'}[/]"
        self._said_by[caption_id] = speaker
        self._line()
        self._console.print(f"[dim]{event['start_s']:7.1f}s[/] [bold]{escape(name)}[/]  {text}")

    def show(self, event: dict[str, Any]) -> None:
        """Show one event of the stream."""
        match event["type"]:
            case "caption" if event["final"] and event["text"]:
                self._caption(event)
            case "audio_gap":
                self._line()
                self._console.print(
                    f"[dim]{event['start_s']:7.1f}s  no sound came for {event['end_s'] - event['start_s']:.1f} s[/]"
                )
            case "transcription_lag" if event["behind_s"] > 0:
                self._line()
                self._console.print(f"[dim]captions are {event['behind_s']:.0f} s behind[/]")
            case "question":
                self._line()
                again = " (goes on)" if event["revision"] else ""
                self._console.print(f"\n[yellow]? Question{again}:[/] [yellow]{escape(event['text'])}[/]")
            case "answer_delta":
                if self._writing != event["answer_id"]:
                    self._line()
                    self._writing = event["answer_id"]
                    self._console.print("[green]> [/]", end="")
                self._console.print(f"[green]{escape(event['text'])}[/]", end="")
            case "answer":
                self._line()
                for cited in event["citations"]:
                    self._console.print(f"  [cyan]\\[{cited['marker']}] {escape(cited['title'])}[/]")
                self._console.print()
            case "answer_failed" if event["reason"] != "superseded":
                self._line()
                self._console.print(f"[red]! no answer: {escape(event['reason'])} {escape(event['detail'])}[/]\n")
            case _:
                pass

    def _line(self) -> None:
        if self._writing is not None:
            self._writing = None
            self._console.print()

    def summary(self, played: Played) -> None:
        """Print what came of the meeting."""
        self._line()
        answered = [one for one in played.answers.values() if one["type"] == "answer"]
        cited = sum(bool(one["citations"]) for one in answered)
        middle, late = percentile(played.waits_ms, 0.5), percentile(played.waits_ms, 0.95)
        self._console.rule("Summary")
        self._console.print(f"captions   {played.captions}")
        self._console.print(f"questions  {len(played.questions)}")
        self._console.print(f"answers    {len(answered)}, {cited} with citations")
        if middle is not None and late is not None:
            self._console.print(f"question end -> first piece of its answer: p50 {middle:.0f} ms, p95 {late:.0f} ms")
