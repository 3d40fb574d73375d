"""Sentences of our own for training: what people ask and say in interviews, consultations and meetings."""

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Sentence", "sentences"]

SLOTS = {
    "TOPIC": ["Kafka", "distributed systems", "the billing platform", "customer onboarding", "test automation",
              "machine learning", "database migrations", "incident response", "mentoring", "stakeholder management",
              "wound care", "medication safety", "your last project", "your current team", "code review", "quality"],
    "DID": ["led a team", "missed a deadline", "disagreed with your manager", "had to learn something quickly",
            "improved a slow system", "dealt with a difficult customer", "made a mistake", "had to say no",
            "shipped something you were proud of", "handled an emergency", "worked under pressure", "changed your mind"],
    "THING": ["the cache", "the schema", "this service", "the rollout", "the queue", "the dashboard", "the budget",
              "the interface", "your notice period", "the treatment", "the dressing", "the report", "the data"],
    "DO": ["scale it", "test it", "measure success", "prioritise the work", "design a rate limiter", "roll it back",
           "explain this to a patient", "handle a sudden spike", "debug a memory leak", "split the work",
           "convince the team", "store the events", "keep the latency low", "plan the first month"],
    "SYMPTOM": ["chest pain", "a headache", "any swelling", "a fever", "trouble sleeping", "a cough", "dizziness",
                "any allergies", "back pain", "shortness of breath", "any nausea", "numbness"],
    "WHO": ["the team", "your manager", "the patient", "the client", "the vendor", "the other group", "the users"],
    "YEARS": ["two years", "eight months", "about five years", "most of last year", "a couple of weeks"],
    "NAME": ["Priya", "Tom", "Maria", "Chen", "Amir", "Sofia"],
}  # fmt: skip
LEADS = ["", "", "", "So ", "Okay, so ", "And ", "Right, ", "Great, thanks. ", "Um, ", "Got it. ", "Well, ", "Okay. "]
ASKS = [
    "What did you learn from {TOPIC}?", "What would you do differently with {THING}?", "What is {THING} for?",
    "What made you choose {THING}?", "What was the hardest part of {TOPIC}?", "What happened to {THING} after that?",
    "How would you {DO}?", "How did you {DO}?", "How do you usually {DO}?", "How long did {THING} take?",
    "How many people were involved in {TOPIC}?", "How comfortable are you with {TOPIC}?", "How did {WHO} react?",
    "Why did you leave {WHO}?", "Why do you want to work on {TOPIC}?", "Why was {THING} so slow?",
    "Where do you see yourself in {YEARS}?", "Where does {THING} get its input from?", "When did {SYMPTOM} start?",
    "Which part of {TOPIC} did you own?", "Which of those was the most important for {WHO}?", "Who decided that?",
    "Who was responsible for {THING}?", "Have you ever {DID}?", "Have you worked with {TOPIC} before?",
    "Have you noticed {SYMPTOM}?", "Do you have {SYMPTOM}?", "Do you have experience with {TOPIC}?",
    "Do you get {SYMPTOM} at night?", "Did you {DO} on your own or with {WHO}?", "Did {WHO} agree with that?",
    "Are you taking anything for {SYMPTOM}?", "Are there cases where you would not {DO}?", "Is {THING} still in use?",
    "Is there anything you would change about {TOPIC}?", "Is it worse with {SYMPTOM}?", "Was that your decision or {WHO}?",
    "Were you able to {DO}?", "Could you {DO} without {THING}?", "Can you give me an example of {TOPIC}?",
    "Can you tell me about a time when you {DID}?", "Could you walk me through {TOPIC}?", "Would you rather {DO} or {DO}?",
    "Would it help to {DO}?", "Does {SYMPTOM} come and go?", "Does {THING} depend on {WHO}?", "Has {SYMPTOM} got worse?",
    "If {THING} failed tomorrow, what would you do first?", "In your view, what makes {TOPIC} hard?",
    "Imagine you join on Monday and have to {DO}, where do you start?", "And why was that?", "And how did that go?",
    "And what happened then?", "Why not?  How come {WHO} did not notice?", "What about {THING}?", "How about {TOPIC}?",
    "What are your salary expectations?", "When could you start?", "What brings you here today?",
    "Let's say {THING} doubles every month, how would you {DO}?", "Suppose {WHO} disagrees, how do you {DO}?",
]  # fmt: skip
REQUESTS = [
    "Tell me about a time when you {DID}.", "Tell me about {TOPIC}.", "Tell us a bit about yourself.",
    "Walk me through how you would {DO}.", "Walk us through {TOPIC}.", "Talk me through {THING}.",
    "Describe a situation where you {DID}.", "Explain to me how you would {DO}.", "Give me an example of when you {DID}.",
    "I'd like to hear about {TOPIC}.", "I'd love to hear how you {DID}.", "I'd like to understand why {WHO} chose {THING}.",
    "I'm curious how you would {DO}.", "I'm interested in how {WHO} saw that.", "I was wondering how you {DO}.",
    "Maybe start by walking me through {TOPIC}.", "Perhaps you could say a bit about {TOPIC}.",
    "Please go ahead and introduce yourself.", "Design a system that lets {WHO} {DO}.", "Share with us a time you {DID}.",
    "Help me understand what {THING} does.", "Take me through {TOPIC} step by step.", "Say a little more about {TOPIC}.",
    "Let's hear about a project where you {DID}.", "Compare {TOPIC} with what you did before.",
    "Pick one project and tell me what you did there.", "Let me know how you would {DO}.", "Now explain that to {WHO}.",
]  # fmt: skip
STATEMENTS = [
    "That's what {WHO} wanted.", "That's why we moved {THING}.", "That's how we {DO}.", "I know what you mean about {TOPIC}.",
    "I'll tell you what {TOPIC} is like here.", "I'll explain how we {DO}.", "We looked at how {WHO} could {DO}.",
    "I don't know when {THING} will be ready.", "I wonder whether {THING} matters at all, but never mind.",
    "It depends on what {WHO} decide.", "When we started, {THING} was not there.", "What we do here is mostly {TOPIC}.",
    "What I like about {TOPIC} is the people.", "How we {DO} is described in the document.", "Whatever {WHO} want is fine.",
    "Which is why {WHO} were not happy.", "Which brings us to {TOPIC}.", "Where we are now is {YEARS} in.",
    "You can see how {THING} grew over {YEARS}.", "I did that for {YEARS} with {WHO}.", "You did well with {TOPIC}.",
    "Is what I told {WHO}.", "Do that first and then {DO}.", "I have been here for {YEARS}.", "We are {YEARS} behind.",
    "So I am going to ask you a few questions about {TOPIC}.", "I have a couple of questions about {THING} later.",
    "The question is not new to {WHO}.", "Let me tell you about {TOPIC}.", "Let me describe {THING}.",
    "We can talk about {TOPIC} in a minute.", "I'll give you an example of {TOPIC}.", "I asked {WHO} how they {DO}.",
    "They asked me why {THING} was late.", "I can show you {THING} after this.", "Then we can {DO}.",
    "That would be {NAME}, who leads {TOPIC}.", "I have your CV here.", "Thanks for coming in, {NAME}.",
    "It was good, we had {THING} for {YEARS}.", "Take your time.", "That makes sense.", "I see what you did there.",
    "People ask what {TOPIC} is for.", "We have to see who owns {THING}.", "We should {DO} at some point.",
    "Are things I care about.", "Have a look at {THING}.", "Should be fine with {WHO}.", "Could be {THING}.",
    "If you have {SYMPTOM}, take this twice a day.", "You may get {SYMPTOM} with that.", "Do not worry about {SYMPTOM}.",
    "I want to check {THING} and then {DO}.", "We would {DO} and that was that.", "There is {THING} and there is {TOPIC}.",
]  # fmt: skip
TRAPS = [
    "You were there for {YEARS}, right?", "It was {THING}, wasn't it?", "So {WHO} knew, didn't they?", "Okay?", "Right?",
    "Really?", "Can you hear me okay?", "How are you doing today?", "How are you?", "Can you see my screen?",
    "Did you find the place all right?", "How was your weekend?", "Are you ready?", "Shall we get started?", "Hello?",
    "Does that make sense?", "Is that okay with you?", "Who knows?", "Who doesn't like {TOPIC}?", "What could go wrong?",
    "Isn't it funny how that works?", "You know what I mean?", "What was I going to say?", "What do you call it?",
    "Where was I?", "How do I put this?", "Why would anyone {DO}?", "Do you mind if I take notes?", "Is it?", "Did you?",
    "Oh, was it?", "Sorry?", "Pardon?", "Who am I to judge {WHO}?", "What else can I say?", "Did you get my email?",
]  # fmt: skip
FRAGMENTS = [
    "What I",
    "So what",
    "Do you",
    "How did",
    "And then why",
    "Is it",
    "Can I",
    "What if we",
    "So how",
    "Are the",
]
REPLIES = ["", "", "yes that is right", "no not really", "we used it for two years", "okay", "thanks"]


@dataclass(frozen=True, slots=True)
class Sentence:
    """A line of parts, each with whether it asks; said by one whose part is to ask, or by a colleague."""

    parts: tuple[tuple[str, bool], ...]
    asker: bool
    reply: str

    def texts(self, *, raw: bool) -> list[str]:
        """Give the parts' texts; raw ones have no capitals and marks."""
        return [re.sub(r"[.,?!]", "", part).lower() if raw else part for part, _ in self.parts]


def _filled(chance: random.Random, template: str) -> str:
    def slot(found: re.Match[str]) -> str:
        return chance.choice(SLOTS[found[1]])

    return re.sub(r"\{(\w+)\}", slot, template)


def sentences(seed: int = 5) -> Iterator[Sentence]:
    """Give the sentences, the same ones always: single ones, and run-ons of two or three."""
    chance = random.Random(seed)
    kinds = [(ASKS, True, 4), (REQUESTS, True, 8), (STATEMENTS, False, 5), (TRAPS, False, 3), (FRAGMENTS, False, 2)]
    pools: dict[bool, list[str]] = {True: [], False: []}
    for templates, asks, times in kinds:
        for template in templates:
            for _ in range(times):
                lead = chance.choice(LEADS) if templates is not FRAGMENTS else ""
                text = lead + _filled(chance, template)
                pools[asks].append(text)
                yield Sentence(((text, asks),), chance.random() < 0.6, chance.choice(REPLIES))
    for _ in range(400):
        parts = [
            (chance.choice(pools[asks]), asks) for asks in chance.choice([(False, True), (True, False), (False, False)])
        ]
        yield Sentence(tuple(parts), chance.random() < 0.6, chance.choice(REPLIES))
