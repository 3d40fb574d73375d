"""Reads a resume: its sections, dated experiences and skills."""

import json
import re
from typing import Any

from pydantic import BaseModel, Field

__all__ = ["Experience", "Resume", "Section", "json_resume_text", "parse_resume"]

_NAMES = (
    "summary|profile|about|about me|objective|experience|work experience|employment|employment history|work history|"
    "professional experience|career|education|training|skills|technical skills|core skills|projects|publications|"
    "certifications|certificates|languages|awards|interests|volunteering|references|contact"
)
# Only blanks of its own line belong to a heading: with line breaks among them, empty lines took seconds.
_HEADING = re.compile(rf"^[ \t]*(?:#+[ \t]*)?\**[ \t]*({_NAMES})[ \t]*\**[ \t]*:?[ \t]*$", re.IGNORECASE | re.MULTILINE)
_YEARS = r"(?:(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?\s+)?(?:19|20)\d\d"
_PERIOD = re.compile(rf"({_YEARS})\s*(?:-|–|—|to|until)\s*({_YEARS}|present|now|today|current)", re.IGNORECASE)
_EXPERIENCE = re.compile(r"experience|employment|work|career", re.IGNORECASE)
_SPLIT = re.compile(r"\s+(?:at|@)\s+|\s*[,|·•–—]\s+|\s+-\s+")


class Section(BaseModel):
    """A part of the resume; ``text[start:end]`` of the resume is its body."""

    title: str
    start: int
    end: int


class Experience(BaseModel):
    """One position with its dates."""

    title: str
    organisation: str = ""
    period: str
    text: str = ""


class Resume(BaseModel):
    """A resume as far as rules can read it; `text` is all of it."""

    name: str = ""
    text: str
    sections: list[Section] = Field(default_factory=list)
    experiences: list[Experience] = Field(default_factory=list)
    skills: list[str] = Field(default_factory=list)


def parse_resume(text: str) -> Resume:
    """Give the parts of a resume written in one of the usual layouts; what is not understood stays in `text`."""
    marks = list(_HEADING.finditer(text))
    sections = [
        Section(
            title=mark.group(1).strip().title(),
            start=mark.end(),
            end=marks[number + 1].start() if number + 1 < len(marks) else len(text),
        )
        for number, mark in enumerate(marks)
    ]
    first = next((line.strip("#* \t") for line in text.splitlines() if line.strip("#* \t")), "")
    return Resume(
        name=first if len(first.split()) <= 6 else "",
        text=text,
        sections=sections,
        experiences=[
            one
            for section in sections
            if _EXPERIENCE.search(section.title)
            for one in _experiences(text[section.start : section.end])
        ],
        skills=[
            skill
            for section in sections
            if "skill" in section.title.lower()
            for skill in _skills(text[section.start : section.end])
        ],
    )


def _experiences(body: str) -> list[Experience]:
    lines = body.splitlines()
    dated = [number for number, line in enumerate(lines) if _PERIOD.search(line)]
    found = []
    for place, number in enumerate(dated):
        period = _PERIOD.search(lines[number])
        assert period is not None  # noqa: S101 - it was found above
        rest = _PERIOD.sub("", lines[number]).strip(" #*-|,()\t–—")
        if not rest and number > 0:
            rest = lines[number - 1].strip(" #*-|,()\t")
        parts = [part.strip(" *#()") for part in _SPLIT.split(rest, maxsplit=1)]
        until = dated[place + 1] if place + 1 < len(dated) else len(lines)
        found.append(
            Experience(
                title=parts[0],
                organisation=parts[1] if len(parts) > 1 else "",
                period=period.group(0),
                text="\n".join(lines[number + 1 : until]).strip(),
            )
        )
    return found


def _skills(body: str) -> list[str]:
    words = re.split(r"[,;\n•·|]", re.sub(r"^[\s*-]*[A-Z][\w /&]+:", "", body, flags=re.MULTILINE))
    return [word.strip(" *-.\t") for word in words if 1 < len(word.strip(" *-.\t")) <= 40]


def json_resume_text(text: str) -> str | None:
    """Give a JSON Resume (jsonresume.org) as readable text; None when the JSON is no resume."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or not any(key in found for key in ("basics", "work", "education", "skills")):
        return None
    basics: dict[str, Any] = found["basics"] if isinstance(found.get("basics"), dict) else {}
    parts = [str(basics.get("name", "")), str(basics.get("label", ""))]
    if basics.get("summary"):
        parts += ["", "Summary", str(basics["summary"])]
    parts += _part("Experience", found.get("work"), ("position", "name", "company"), ("summary", "highlights"))
    parts += _part("Projects", found.get("projects"), ("name",), ("description", "highlights"))
    parts += _part("Education", found.get("education"), ("studyType", "area", "institution"), ("courses",))
    skills = [_skill(one) for one in _list(found.get("skills"))]
    parts += ["", "Skills", ", ".join(skill for skill in skills if skill)] if any(skills) else []
    return "\n".join(parts).strip()


def _part(title: str, entries: Any, heads: tuple[str, ...], bodies: tuple[str, ...]) -> list[str]:
    lines: list[str] = []
    for entry in _list(entries):
        if not isinstance(entry, dict):
            continue
        head = ", ".join(str(entry[key]) for key in heads if entry.get(key))
        period = f"{entry.get('startDate', '')} - {entry.get('endDate') or 'present'}" if entry.get("startDate") else ""
        lines += ["", f"{head} {period}".strip()]
        for key in bodies:
            value = entry.get(key)
            lines += [str(one) for one in (value if isinstance(value, list) else [value]) if one]
    return ["", title, *lines] if lines else []


def _skill(entry: Any) -> str:
    if isinstance(entry, dict):
        words = [str(entry.get("name", "")), *(str(word) for word in _list(entry.get("keywords")))]
        return ", ".join(word for word in words if word)
    return str(entry)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
