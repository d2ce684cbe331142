"""Which system prompt the starters answer best to: `python tests/bench/starter_prompts.py [FAST|LARGE name] [home]`.

Plain questions whose answers a pattern can check, at temperature 0; prints the score of each prompt. Run by hand when the
weights or the prompts change; the winners stand in router/starter.py. Prepares the starter when it is not there.
"""

from __future__ import annotations

import asyncio
import re
import sys
import time
from pathlib import Path

import httpx2
import openai

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from base.settings import load_settings
from router import starter
from router.foundry import Foundry, Weights

PLAIN = (
    "",
    "You are a helpful AI assistant.",
    "You are a helpful AI assistant named SmolLM, trained by Hugging Face",
    "You are a helpful assistant. Answer briefly.",
    "Answer the question in one short sentence.",
    "You are Relay, a helpful assistant that runs on the user's own machine.",
)
GROUNDED = (
    "You are a helpful AI assistant.",
    "Answer the question using the text.",
    "You are a helpful AI assistant. Answer from the numbered passages and cite them like [1].",
    "Use the passages to answer. Copy the words of the passage.",
)
QUESTIONS = (
    ("What is the capital of France?", "Paris"),
    ("What is the capital of Japan?", "Tokyo"),
    ("What is the capital of Italy?", "Rome"),
    ("What is the capital of Germany?", "Berlin"),
    ("What is the capital of Spain?", "Madrid"),
    ("What is the capital of Egypt?", "Cairo"),
    ("What is 2 + 2?", r"\b4\b|four"),
    ("What is 5 + 3?", r"\b8\b|eight"),
    ("What is 10 - 4?", r"\b6\b|six"),
    ("What is 3 times 3?", r"\b9\b|nine"),
    ("What is half of 10?", r"\b5\b|five"),
    ("How many days are in a week?", r"\b7\b|seven"),
    ("How many months are in a year?", r"\b12\b|twelve"),
    ("How many hours are in a day?", r"\b24\b|twenty"),
    ("How many minutes are in an hour?", r"\b60\b|sixty"),
    ("How many legs does a spider have?", r"\b8\b|eight"),
    ("Which day comes after Monday?", "Tuesday"),
    ("Which month comes after June?", "July"),
    ("What color is the sky on a clear day?", "blue"),
    ("What color is grass?", "green"),
    ("What color do you get by mixing blue and yellow?", "green"),
    ("What is the opposite of hot?", "cold"),
    ("What is the opposite of up?", "down"),
    ("What is the plural of child?", "children"),
    ("Which planet do we live on?", "Earth"),
    ("Which planet is closest to the Sun?", "Mercury"),
    ("What is the largest ocean?", "Pacific"),
    ("What is the chemical formula of water?", "H2O|H₂O"),
    ("What gas do plants take in?", r"carbon dioxide|CO2"),
    ("Who wrote Romeo and Juliet?", "Shakespeare"),
    ("Who painted the Mona Lisa?", "Leonardo|Vinci"),
    ("What do bees make?", "honey"),
    ("What does CPU stand for?", "central processing unit"),
    ("What is a synonym of happy?", "joy|glad|cheer|content|delight|elat|pleas"),
    ("What is frozen water called?", r"\bice\b"),
    ("Define photosynthesis in one sentence.", "light|sun"),
    ("Define gravity in one sentence.", "force|attract"),
    ("Is this review positive or negative? 'I love this phone, it is great.'", "positive"),
    ("Is this review positive or negative? 'Terrible food and rude waiters.'", "negative"),
    ("Classify as fruit or vegetable: apple.", "fruit"),
    ("Classify as animal or plant: a dog.", "animal"),
    ("Is this message spam or not spam? 'You won a free prize, click here!'", r"^(?!.*not spam).*spam"),
    ("Summarize in one sentence: The cat slept all day because it rained outside.", "cat.*(rain|sle)"),
    ("Summarize in one sentence: Anna missed the bus, so she walked to school and arrived late.", "late|walk|bus"),
    ("Write a Python function that adds two numbers.", r"def .*\n?.*return|\+"),
    ("Write a Python line that prints hello.", r"print\("),
    ("Translate 'hello' to Spanish.", "hola"),
    ("Fix the spelling: 'recieve'.", "receive"),
)
PASSAGES = (
    ("Employees get 25 days of vacation a year.", "Lunch is served from noon to two.", "How many vacation days do employees get?", "25"),
    ("The office opens at 8 in the morning.", "Parking is free for visitors.", "When does the office open?", r"\b8\b"),
    ("Laptops are replaced every four years.", "Phones are replaced every two years.", "How often are laptops replaced?", "four|4"),
    ("Laptops are replaced every four years.", "Phones are replaced every two years.", "How often are phones replaced?", "two|2"),
    ("The support team sits on the third floor.", "The cafeteria is on the first floor.", "On which floor is the cafeteria?", "first|1st"),
    ("Expenses are sent to Maria Lopez.", "Travel is booked by Tom Berg.", "Who books travel?", "Tom|Berg"),
    ("Expenses are sent to Maria Lopez.", "Travel is booked by Tom Berg.", "Who receives expenses?", "Maria|Lopez"),
    ("Passwords must have at least 14 characters.", "Badges expire after a year.", "How long must a password be?", "14"),
    ("The server is restarted on Sundays.", "Backups run every night at 2 am.", "When do backups run?", "night|2 ?a"),
    ("Project Falcon ships in October.", "Project Heron ships in March.", "When does Project Heron ship?", "March"),
    ("Remote work is allowed three days a week.", "The gym is in the basement.", "Where is the gym?", "basement"),
    ("Interns are paid monthly.", "New staff get a mentor for six months.", "How long do new staff have a mentor?", "six|6"),
)


async def score(client: openai.AsyncOpenAI, name: str, system: str, cases: list[tuple[str, str]]) -> tuple[int, list[str]]:
    """Right answers, and the questions that failed."""
    failed = []
    for question, pattern in cases:
        said = [{"role": "system", "content": system}] if system else []
        messages = [*said, {"role": "user", "content": question}]
        done = await client.chat.completions.create(model=name, messages=messages, temperature=0, max_tokens=48)  # type: ignore[arg-type]
        if not re.search(pattern, done.choices[0].message.content or "", re.IGNORECASE | re.DOTALL):
            failed.append(question.splitlines()[-1][-50:])
    return len(cases) - len(failed), failed


async def main(name: str, home: str | None) -> None:
    settings = load_settings({"RELAY_HOME": home} if home else None)
    starter.prepare(settings, lambda label, fraction=None, /: print(label, file=sys.stderr), only=[name])
    foundry = Foundry.shared(settings.home)
    await foundry.warm(Weights(name, starter.folder(settings.models, name)))
    http = httpx2.AsyncClient(transport=foundry.transport())
    client = openai.AsyncOpenAI(base_url="http://foundry.local/v1", api_key="local", max_retries=0, http_client=http)
    grounded = [(f"[1] {one}\n\n[2] {two}\n\nQuestion: {question}", pattern) for one, two, question, pattern in PASSAGES]
    for title, systems, cases in (("plain", PLAIN, list(QUESTIONS)), ("grounded", GROUNDED, grounded)):
        for system in systems:
            begun = time.monotonic()
            right, failed = await score(client, name, system, cases)
            print(f"{name}  {title:8}  {right:2}/{len(cases)}  {time.monotonic() - begun:4.0f} s  {system!r}", flush=True)
            print(f"    failed: {'; '.join(failed)}" if "-v" in sys.argv else "", end="\n" if "-v" in sys.argv else "")


if __name__ == "__main__":
    arguments = [word for word in sys.argv[1:] if not word.startswith("-")]
    asyncio.run(main(arguments[0] if arguments else starter.FAST, arguments[1] if len(arguments) > 1 else None))
