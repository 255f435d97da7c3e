# ruff: noqa: E501 (a text and its data stand on one line)
"""Further functions of the code suite: lists of records, texts with rules, numbers."""

from __future__ import annotations

from typing import Any

from evals.suites.generators.code_task import Task, task

RECORDS: list[tuple[Any, ...]] = [
    ([],),
    ([{"name": "Ada", "city": "Graz", "age": 30}],),
    ([{"name": "Ben", "city": "Lyon", "age": 41}, {"name": "Ida", "city": "Graz", "age": 19}, {"name": "Al", "city": "Lyon", "age": 41}],),
    ([{"name": n, "city": c, "age": a} for n, c, a in (("Zoe", "Oslo", 7), ("Yan", "Oslo", 65), ("Xia", "Bari", 33), ("Wim", "Bari", 65))],),
]  # fmt: skip
PEOPLE_ABOUT = "Each record is an object with name, city and age."


def list_record_tasks() -> list[Task]:
    """Lists of objects."""
    shown = "[{'name': 'Ada', 'city': 'Graz', 'age': 30}, {'name': 'Bo', 'city': 'Oslo', 'age': 20}]"
    return [
        task("easy", "names_in(records, city)", f"{PEOPLE_ABOUT} It returns the names of those in the city, in their order.",
             "return [r['name'] for r in records if r['city'] == city]", [(f"{shown}, 'Oslo'", "['Bo']")],
             [(r[0], c) for r in RECORDS for c in ("Graz", "Bari")]),
        task("easy", "average_age(records)", f"{PEOPLE_ABOUT} It returns the mean age rounded to one decimal place, None for no records.",
             "return round(sum(r['age'] for r in records) / len(records), 1) if records else None", [(shown, "25.0")], RECORDS),
        task("middle", "oldest_by_city(records)", f"{PEOPLE_ABOUT} It returns an object from each city to the name of its oldest person, the first given on a tie.",
             "best = {}\nfor r in records:\n    if r['city'] not in best or r['age'] > best[r['city']]['age']:\n        best[r['city']] = r\n"
             "return {city: r['name'] for city, r in best.items()}", [(shown, "{'Graz': 'Ada', 'Oslo': 'Bo'}")], RECORDS),
        task("middle", "sorted_people(records)", f"{PEOPLE_ABOUT} It returns the names, oldest first, those of the same age by name.",
             "return [r['name'] for r in sorted(records, key=lambda r: (-r['age'], r['name']))]", [(shown, "['Ada', 'Bo']")], RECORDS),
        task("middle", "count_by(records, field)", "It returns an object from each value of the field, as text, to how many records have it.",
             "out = {}\nfor r in records:\n    out[str(r[field])] = out.get(str(r[field]), 0) + 1\nreturn out",
             [("[{'a': 1}, {'a': 2}, {'a': 1}], 'a'", "{'1': 2, '2': 1}")], [(r[0], f) for r in RECORDS for f in ("city", "age")]),
        task("hard", "join_records(left, right, key)", "It returns one merged object for every pair of a left and a right record with the same value at key, left by left; a field both have is taken from the left.",
             "return [{**b, **a} for a in left for b in right if a[key] == b[key]]", [("[{'k': 1, 'x': 2}], [{'k': 1, 'y': 3}], 'k'", "[{'k': 1, 'x': 2, 'y': 3}]")],
             [([], [], "k"), ([{"k": 1, "v": "l"}], [{"k": 1, "v": "r"}, {"k": 1, "w": 0}], "k"), ([{"k": 1}], [{"k": 2}], "k")]),
    ]  # fmt: skip


def list_number_tasks() -> list[Task]:
    """Whole numbers and lists of them."""
    numbers: list[tuple[Any, ...]] = [
        ([],),
        ([1],),
        ([2, 2, 3],),
        ([-4, 0, 4],),
        ([9, 1, 8, 2, 7, 3],),
        ([10, 10, -10, 5],),
    ]
    return [
        task("easy", "running_totals(numbers)", "It returns the sums of the first item, the first two, and so on.",
             "out, total = [], 0\nfor n in numbers:\n    total += n\n    out.append(total)\nreturn out", [("[1, 2, 3]", "[1, 3, 6]")], numbers),
        task("easy", "evens_then_odds(numbers)", "It returns the even numbers in their order and then the odd ones in theirs.",
             "return [n for n in numbers if n % 2 == 0] + [n for n in numbers if n % 2]", [("[3, 2, 1, 4]", "[2, 4, 3, 1]")], numbers),
        task("easy", "is_leap_year(year)", "It returns whether a year of the Gregorian calendar has 366 days.",
             "return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)", [("2000", "True"), ("1900", "False")], [(2023,), (2024,), (2100,), (1600,), (4,)]),
        task("middle", "collatz_steps(n)", "An even number is halved, an odd one becomes three times itself plus 1. It returns the number of steps from n to 1.",
             "steps = 0\nwhile n != 1:\n    n = n // 2 if n % 2 == 0 else 3 * n + 1\n    steps += 1\nreturn steps", [("6", "8")], [(1,), (2,), (7,), (27,), (97,)]),
        task("middle", "perfect_below(n)", "It returns all numbers smaller than n that equal the sum of their divisors other than themselves, ascending.",
             "return [k for k in range(2, n) if sum(d for d in range(1, k) if k % d == 0) == k]", [("30", "[6, 28]")], [(0,), (6,), (7,), (500,)]),
        task("middle", "digit_root(n)", "It adds up the digits of a whole number from 0 on, again and again until one digit is left, and returns that.",
             "while n > 9:\n    n = sum(int(c) for c in str(n))\nreturn n", [("987", "6")], [(0,), (9,), (10,), (99999,), (123456789,)]),
        task("middle", "median(numbers)", "It returns the middle number by size, the mean of the two middle ones for an even count, None for an empty list.",
             "if not numbers:\n    return None\ns, n = sorted(numbers), len(numbers)\nreturn s[n // 2] if n % 2 else (s[n // 2 - 1] + s[n // 2]) / 2",
             [("[5, 1, 3]", "3"), ("[1, 2]", "1.5")], numbers),
        task("hard", "split_evenly(numbers)", "It returns whether the numbers, all from 0 on, can be split into two groups of the same sum; a group may be empty.",
             "total, sums = sum(numbers), {0}\nfor n in numbers:\n    sums |= {s + n for s in sums}\nreturn total % 2 == 0 and total // 2 in sums",
             [("[1, 5, 11, 5]", "True"), ("[1, 2, 5]", "False")], [([],), ([1],), ([2, 2],), ([3, 1, 1, 2, 2, 1],), ([100, 1, 1],)]),
        task("hard", "longest_equal_run(numbers)", "It returns [start, length] of the longest run of equal neighbours, the first on a tie, [] for an empty list.",
             "best, start = [], 0\nfor i in range(len(numbers)):\n    if numbers[i] != numbers[start]:\n        start = i\n    if not best or i - start + 1 > best[1]:\n"
             "        best = [start, i - start + 1]\nreturn best", [("[1, 2, 2, 3]", "[1, 2]")], numbers),
        task("hard", "spoken_number(n)", "It writes a whole number from 0 to 999 in English words, tens and ones joined by a hyphen, without 'and'.",
             "small = ('zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen '\n"
             "         'eighteen nineteen').split()\ntens = 'x x twenty thirty forty fifty sixty seventy eighty ninety'.split()\nif n >= 100:\n"
             "    rest = n % 100\n    return small[n // 100] + ' hundred' + (' ' + spoken_number(rest) if rest else '')\nif n < 20:\n    return small[n]\n"
             "return tens[n // 10] + ('-' + small[n % 10] if n % 10 else '')", [("342", "'three hundred forty-two'"), ("20", "'twenty'")], [(0,), (13,), (99,), (100,), (805,), (999,)]),
    ]  # fmt: skip


def list_text_tasks() -> list[Task]:
    """Texts under rules."""
    texts: list[tuple[Any, ...]] = [
        ("",),
        ("hello world",),
        ("A-b_c d",),
        ("one, two; three.",),
        ("XMLHttpRequest",),
        ("mississippi",),
    ]
    return [
        task("easy", "capital_positions(text)", "It returns the places, from 0, of all capital letters.",
             "return [i for i, c in enumerate(text) if c.isupper()]", [("'aBcD'", "[1, 3]")], texts),
        task("middle", "to_snake(text)", "It puts an underscore before every capital letter but one at the beginning, and writes all letters small.",
             "return ''.join('_' * (i > 0 and c.isupper()) + c.lower() for i, c in enumerate(text))", [("'userName'", "'user_name'")], texts),
        task("middle", "is_valid_pin(text)", "It returns whether the text has four to six digits and nothing else, and not all of them are the same.",
             "return 4 <= len(text) <= 6 and all(c in '0123456789' for c in text) and len(set(text)) > 1", [("'1224'", "True"), ("'1111'", "False")],
             [("",), ("123",), ("123456",), ("1234567",), ("12a4",), ("-1234",)]),
        task("middle", "mask(text, n)", "It replaces every character but the last n by *; a text of at most n characters stays.",
             "return '*' * max(0, len(text) - n) + text[max(0, len(text) - n) :]", [("'secret', 2", "'****et'")], [("", 3), ("abc", 3), ("abcd", 0), ("a b c", 1)]),
        task("hard", "first_unique(text)", "It returns the first character that occurs once, leaving out spaces and ignoring case, as it stands in the text; '' where there is none.",
             "low = text.lower()\nreturn next((c for c in text if c != ' ' and low.count(c.lower()) == 1), '')", [("'Swiss'", "'w'")], texts),
        task("hard", "longest_palindrome(text)", "It returns the longest part of the text that reads the same both ways, the first on a tie, case and spaces counting.",
             "parts = [text[i:j] for i in range(len(text)) for j in range(i + 1, len(text) + 1)]\nreturn max((p for p in parts if p == p[::-1]), key=len, default='')",
             [("'abacdd'", "'aba'")], [*texts, ("abba abba",)]),
        task("hard", "decode_morse(text)", "The text holds Morse code of the letters S ..., O ---, E ., T -, A .-, N -. with a space between letters and ' / ' between words. It returns the text.",
             "code = {'...': 'S', '---': 'O', '.': 'E', '-': 'T', '.-': 'A', '-.': 'N'}\nreturn ' '.join(''.join(code[x] for x in w.split()) for w in text.split(' / '))",
             [("'... --- ... / -', ".rstrip(", "), "'SOS T'")], [(". .- ...",), ("- . -.",), ("-. --- - . / --- -. .",)]),
    ]  # fmt: skip


MORE_TASKS: tuple[Task, ...] = (*list_record_tasks(), *list_number_tasks(), *list_text_tasks())
"""Every task of this file; names are unique."""
