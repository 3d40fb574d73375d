"""What each view and each of its columns means, in the words of the documentation."""

__all__ = ["DESCRIBED"]

_RUN = "'live' for what clients saw; else the run of a replay, shadow or import"
_SESSION = "the session"
_MADE = "when it was made, UTC"
_SHARED = {"run_id": _RUN, "session_id": _SESSION}

DESCRIBED: dict[str, tuple[str, dict[str, str]]] = {
    "sessions": (
        "one session",
        _SHARED
        | {
            "owner_id": "whose session it is",
            "kind": "interview, meeting, practice or another word of the client's",
            "title": "its title",
            "language": "the language it was opened with",
            "hidden": "opened for a single question; not listed",
            "opened_at": "when it was opened, UTC",
            "closed_at": "when it was closed, UTC; null while it is open",
            "close_reason": "why it was closed",
            "collections": "how many knowledge collections it was restricted to; 0 = all of the owner's",
        },
    ),
    "participants": (
        "one participant of a session, as last known",
        _SHARED
        | {
            "participant_id": "the participant, unique within the session",
            "name": "how to show them",
            "role": "what they do in the meeting; empty when not given",
            "is_user": "whether it is the user whom the engine helps",
            "left_at": "when they last left, UTC; null when they did not",
        },
    ),
    "captions": (
        "one caption in its last form, without its text",
        _SHARED
        | {
            "caption_id": "the caption, unique within the session",
            "made_at": _MADE,
            "speaker": "who spoke, as the sender names them",
            "track": "the input it came from",
            "start_s": "start, seconds into the session",
            "end_s": "end, seconds into the session",
            "words": "words in it",
            "chars": "characters in it",
            "final": "whether it is final",
            "language": "its language, when known",
        },
    ),
    "audio_gaps": (
        "sound of a track that never came and was taken for silence",
        _SHARED
        | {
            "gap_id": "the gap",
            "made_at": _MADE,
            "track": "the input it is missing from",
            "start_s": "where it begins, seconds into the session",
            "end_s": "where sound goes on, seconds into the session",
        },
    ),
    "caption_lag": (
        "how far captions were behind the sound of a track in one minute",
        _SHARED
        | {
            "track": "the input",
            "minute": "the minute, UTC",
            "behind_s": "most sound that waited to be written down, seconds",
        },
    ),
    "speaker_turns": (
        "one span in which somebody held the floor, in its last revision",
        _SHARED
        | {
            "turn_id": "the turn",
            "made_at": _MADE,
            "speaker": "who held the floor",
            "track": "the input it was heard on",
            "start_s": "start, seconds into the session",
            "end_s": "end, seconds into the session",
            "frozen": "whether it will not change any more",
        },
    ),
    "utterances": (
        "one utterance in its last revision",
        _SHARED
        | {
            "utterance_id": "the utterance",
            "revision": "how often it grew",
            "made_at": _MADE,
            "speaker_id": "participant id when known, else the caption's own name",
            "speaker_name": "how to show the speaker",
            "role": "what the speaker does in the meeting",
            "is_user": "whether the user spoke",
            "start_s": "start, seconds into the session",
            "end_s": "end, seconds into the session",
            "words": "words in it",
            "chars": "characters in it",
            "captions": "final captions it is made of",
            "text": "what was said; null unless texts are kept (REJOINDER_ANALYTICS_TEXTS)",
        },
    ),
    "questions": (
        "one question in its last revision",
        _SHARED
        | {
            "question_id": "the question",
            "question_revision": "its last revision",
            "noticed_at": "when its first revision was made, UTC",
            "settled_at": "when its last revision was made, UTC",
            "kind": "wh, yes_no, choice, request or other",
            "origin": "heard in the talk, or asked by a client",
            "speaker_id": "who asked",
            "start_s": "start, seconds into the session",
            "end_s": "end, seconds into the session",
            "confidence": "how sure the engine is that it is a question, 0-1",
            "words": "words in it",
            "captions": "captions it was heard in",
            "text": "the question; null unless texts are kept (REJOINDER_ANALYTICS_TEXTS)",
            "withdrawn": "whether it was taken back",
            "withdrawn_reason": "why",
        },
    ),
    "answers": (
        "one answer to one revision of a question",
        _SHARED
        | {
            "answer_id": "the answer",
            "question_id": "the question it answers",
            "question_revision": "the revision of the question it answers",
            "outcome": "answered or failed",
            "mode": "model, or extractive (quoted from documents)",
            "model": "the model that wrote it",
            "finish": "complete, or length when it was cut",
            "reason": "why it failed; superseded and cancelled are no faults",
            "asked_at": "when that revision of the question was made, UTC",
            "first_delta_at": "when its first words were made, UTC",
            "closed_at": "when it was closed, UTC",
            "first_words_ms": "from the question's record to the first words, milliseconds",
            "whole_ms": "from the question's record to its end, milliseconds",
            "step_first_ms": "the answering step alone, to the first words, milliseconds",
            "step_whole_ms": "the answering step alone, to the end, milliseconds",
            "prompt_tokens": "tokens of the prompt, when the model tells",
            "answer_tokens": "tokens of the answer, when the model tells",
            "citations": "passages cited",
            "passages": "passages offered to the model",
            "chars": "characters of the answer",
            "deltas": "pieces it came in",
            "attempts": "times its text was begun",
            "prompt_version": "which wording of the prompt",
            "model_hash": "identity of the model with its settings",
        },
    ),
    "notes": (
        "one kept note of a session's memory, in its last form",
        _SHARED
        | {
            "note_id": "the note",
            "made_at": _MADE,
            "kind": "fact, commitment, decision, name, number, topic or open_question",
            "utterances": "utterances that support it",
            "text": "a topic's text; of other kinds null unless texts are kept (REJOINDER_ANALYTICS_TEXTS)",
        },
    ),
    "meeting_events": (
        "one thing that happened around the talk",
        _SHARED
        | {
            "meeting_event_id": "the event",
            "made_at": _MADE,
            "type": "joined, left, shared, agenda or noted",
            "participant_id": "whom it concerns",
            "at_s": "when, seconds into the session",
            "name": "title shown, agenda item, or name of what was noted",
            "active": "for shared: shown or taken away",
        },
    ),
    "consents": (
        "one purpose of one entry of the consent ledger, without names and words; the ledger itself decides",
        _SHARED
        | {
            "consent_id": "the entry; it has a row for each of its purposes",
            "purpose": "audio, captions, coaching, voice or remembering",
            "recorded_at": "when it was recorded, UTC; the newest of a person for a purpose holds",
            "participant_id": "who: a participant, or the name under which a caption tool knows a speaker",
            "given": "whether they agreed; false = they refused or withdrew",
            "method": "how they said so: told, spoken, written, click or invitation",
        },
    ),
    "nudges": (
        "one hint to the user about their own talk, given while it went on",
        _SHARED
        | {
            "nudge_id": "the hint",
            "made_at": _MADE,
            "kind": "what stood out: long, fillers, fast, slow, no_result, short or talk_ratio",
            "measured": "the figure behind it: seconds for long and short, fillers in 100 words, words a minute for "
            "fast and slow, the user's share (0-1) for talk_ratio; null for no_result",
            "utterances": "utterances of the answer it is about",
            "at_s": "where the words end that it rests on, seconds into the session",
        },
    ),
    "usage": (
        "one metered amount",
        _SHARED
        | {
            "usage_id": "the measurement",
            "made_at": _MADE,
            "what": "prompt_tokens, answer_tokens or audio_seconds (speech written down here); "
            "caption_count and answer_count are for a meter that is not built",
            "amount": "how much; null when the model's server did not tell",
            "model": "the model; empty for sound",
            "cause_id": "the record that was metered: answer or caption",
            "cost": "amount times today's price; null when there is no price or no amount, never 0 for unknown",
            "currency": "the currency of the cost; null when there is no price",
        },
    ),
    "feedback": (
        "what a user thinks of one answer, as last said",
        _SHARED
        | {
            "answer_id": "the answer",
            "question_id": "the question it answers",
            "rated_at": "when it was rated, UTC",
            "verdict": "useful or wrong",
            "comment_chars": "characters of the comment; 0 = none",
            "comment": "the comment; null unless texts are kept (REJOINDER_ANALYTICS_TEXTS)",
            "mode": "model, or extractive (quoted from documents)",
            "model": "the model that wrote the answer",
        },
    ),
    "flow_lag": (
        "how far one member of a flow was behind in one minute (flows in processes of their own)",
        {
            "run_id": _RUN,
            "flow": "the flow",
            "member": "which process of it",
            "minute": "the minute, UTC",
            "behind_s": "longest time a record waited, seconds",
            "behind_records": "most records that waited",
            "members": "how many processes run the flow",
        },
    ),
    "dead_letters": (
        "one record that could not be read or processed",
        _SHARED
        | {
            "dead_letter_id": "the dead letter",
            "made_at": _MADE,
            "topic": "where the record lay",
            "log_offset": "its offset there",
            "flow": "the flow that met it",
            "reason": "what was wrong, without any speech text",
        },
    ),
    "session_summary": (
        "one session with its sums",
        _SHARED
        | {
            "owner_id": "whose session it is",
            "kind": "interview, meeting, practice or another word of the client's",
            "title": "its title",
            "opened_at": "when it was opened, UTC",
            "closed_at": "when it was closed, UTC; null while it is open",
            "length_s": "end of the last utterance, seconds into the session; null when nothing was said",
            "utterances": "utterances heard",
            "words": "words heard",
            "user_words": "words of the user; null when the user said nothing",
            "user_talk_s": "seconds the user spoke",
            "talk_s": "seconds anybody spoke",
            "talk_ratio": "the user's part of the talking time, 0-1; null without timing, never 0 for unknown",
            "user_wpm": "the user's words per minute of own talking time",
            "questions": "questions heard or asked",
            "answered": "answers completed",
            "failed": "answers that failed, without those superseded or cancelled",
            "first_words_p50_ms": "median time from a question's record to the first words, milliseconds",
            "tokens": "tokens of prompts and answers, when the model tells",
        },
    ),
}
