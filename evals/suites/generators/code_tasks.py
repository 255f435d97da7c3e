# ruff: noqa: E501 (a text and its data stand on one line)
"""The functions of the code suite: families written once, most in two or three variants with their own numbers."""

from __future__ import annotations

from typing import Any

from evals.suites.generators.code_task import Task, task
from evals.suites.generators.code_tasks_more import MORE_TASKS

NUMBERS: list[tuple[Any, ...]] = [
    ([],),
    ([0],),
    ([-3, 4, 4, 10],),
    ([7, 7, 7],),
    ([5, 1, 9, 2, 8, 3],),
    ([-8, -2, -5],),
    (list(range(20)),),
]
TEXTS: list[tuple[Any, ...]] = [
    ("",),
    ("a",),
    ("Level up",),
    ("two  spaces",),
    ("MiXed CaSe 42!",),
    ("banana bandana",),
    ("x-y_z.w",),
]


def list_easy() -> list[Task]:
    """One idea each."""
    tasks = [
        task("easy", f"sum_divisible_by_{k}(numbers)", f"It returns the sum of the whole numbers in the list that are divisible by {k}.",
             f"return sum(n for n in numbers if n % {k} == 0)", [example], NUMBERS)
        for k, example in ((3, ("[3, 4, 9]", "12")), (4, ("[4, 6, 8]", "12")), (7, ("[7, 8, 14]", "21")))
    ]  # fmt: skip
    tasks += [
        task("easy", f"every_{word}(items)", f"It returns a list with every {word} item of the given list, beginning with the {word}.",
             f"return items[{k - 1}::{k}]", [example], [([],), ([1],), (list(range(11)),), (["a", "b", "c", "d", "e", "f"],), ([True, None, 2.5, "x"],)])
        for k, word, example in ((2, "second", ("[1, 2, 3, 4]", "[2, 4]")), (3, "third", ("[1, 2, 3, 4, 5, 6]", "[3, 6]")))
    ]  # fmt: skip
    tasks += [
        task("easy", f"count_words_of_{k}(text)", f"It returns how many words of the text, split at white space, have exactly {k} characters.",
             f"return sum(len(word) == {k} for word in text.split())", [example], [*TEXTS, ("one four fives sixsix",), ("a bb ccc dddd eeeee",)])
        for k, example in ((3, ("'the big house'", "2")), (4, ("'a tree fell down'", "3")), (5, ("'green grass'", "2")))
    ]  # fmt: skip
    tasks += [
        task("easy", "count_vowels(text)", "It returns how many of the letters a, e, i, o, u the text has, capital or small.",
             "return sum(c in 'aeiou' for c in text.lower())", [("'Orange'", "3")], TEXTS),
        task("easy", "is_palindrome(text)", "It returns whether the letters and digits of the text read the same both ways, case ignored.",
             "kept = [c.lower() for c in text if c.isalnum()]\nreturn kept == kept[::-1]", [("'Never odd or even'", "True"), ("'abc'", "False")],
             [*TEXTS, ("Step on no pets.",), ("12 21",)]),
        task("easy", "reverse_words(text)", "It returns the words of the text in reverse order, joined by single spaces.",
             "return ' '.join(reversed(text.split()))", [("'one two three'", "'three two one'")], TEXTS),
        task("easy", "swap_ends(items)", "It returns a list with the first and the last item swapped. Lists shorter than two stay as they are.",
             "if len(items) < 2:\n    return list(items)\nreturn [items[-1], *items[1:-1], items[0]]", [("[1, 2, 3]", "[3, 2, 1]")],
             [([],), ([1],), ([1, 2],), (["a", "b", "c", "d"],)]),
        task("easy", "largest_gap(numbers)", "It returns the difference between the largest and the smallest number, 0 for an empty list.",
             "return max(numbers) - min(numbers) if numbers else 0", [("[4, 9, 1]", "8")], NUMBERS),
        task("easy", "middle_character(text)", "It returns the middle character, the two middle ones for an even length, '' for an empty text.",
             "n = len(text)\nreturn text[(n - 1) // 2 : n // 2 + 1]", [("'abc'", "'b'"), ("'abcd'", "'bc'")], TEXTS),
        task("easy", "celsius_to_fahrenheit(degrees)", "It returns the temperature in Fahrenheit, rounded to one decimal place.",
             "return round(degrees * 9 / 5 + 32, 1)", [("100", "212.0"), ("-40", "-40.0")], [(0,), (37,), (-17.8,), (21.5,), (1000,)]),
        task("easy", "initials(name)", "It returns the first letter of every word as a capital, each followed by a full stop.",
             "return ''.join(word[0].upper() + '.' for word in name.split())", [("'ada king lovelace'", "'A.K.L.'")], TEXTS),
        task("easy", "without_duplicates(items)", "It returns the items in their order of first occurrence, each once.",
             "seen = []\nfor item in items:\n    if item not in seen:\n        seen.append(item)\nreturn seen", [("[3, 1, 3, 2, 1]", "[3, 1, 2]")],
             [*NUMBERS, (["b", "a", "b"],), ([[1], [1], [2]],)]),
        task("easy", "count_sign_changes(numbers)", "It returns how often neighbouring numbers have opposite signs; zeros are left out first.",
             "kept = [n for n in numbers if n]\nreturn sum((a > 0) != (b > 0) for a, b in zip(kept, kept[1:]))", [("[1, -2, 0, -3, 4]", "2")],
             [*NUMBERS, ([0, 0],), ([-1, 0, 1, -1],)]),
        task("easy", "double_letters(text)", "It returns the text with every letter written twice and everything else once.",
             "return ''.join(c * 2 if c.isalpha() else c for c in text)", [("'ab 1'", "'aabb 1'")], TEXTS),
        task("easy", "digits_sum(n)", "It returns the sum of the digits of a whole number, which may be negative.",
             "return sum(int(c) for c in str(abs(n)))", [("253", "10"), ("-41", "5")], [(0,), (9,), (1000000,), (987654321,), (-99,)]),
        task("easy", "longest_word(text)", "It returns the longest word, the first of them where several are equally long, '' where there is none.",
             "return max(text.split(), key=len, default='')", [("'a quick brown fox'", "'quick'")], TEXTS),
        task("easy", "at_least(numbers, limit)", "It returns the numbers that are not below the limit, in their order.",
             "return [n for n in numbers if n >= limit]", [("[1, 5, 3], 3", "[5, 3]")], [([], 1), ([1, 2], 9), ([-1, -5, 0], -1), ([2, 2, 2], 2)]),
        task("easy", "repeat_each(items, n)", "It returns a list with each item n times in a row.",
             "return [item for item in items for _ in range(n)]", [("['a', 'b'], 2", "['a', 'a', 'b', 'b']")], [([], 3), ([1, 2], 0), ([1], 4), ([None, 0], 2)]),
        task("easy", "strip_vowels(text)", "It returns the text without the letters a, e, i, o, u, capital or small.",
             "return ''.join(c for c in text if c.lower() not in 'aeiou')", [("'Education'", "'dctn'")], TEXTS),
        task("easy", "second_largest(numbers)", "It returns the second largest of the different numbers, None where there are fewer than two.",
             "different = sorted(set(numbers))\nreturn different[-2] if len(different) > 1 else None", [("[4, 9, 9, 1]", "4")], NUMBERS),
    ]  # fmt: skip
    return tasks


MATRICES: list[tuple[Any, ...]] = [
    ([[1]],),
    ([[1, 2], [3, 4]],),
    ([[1, 2, 3], [4, 5, 6]],),
    ([[5], [6], [7]],),
    ([[0, -1, 2], [3, 3, 3], [9, 8, 7]],),
]
SPANS: list[tuple[Any, ...]] = [
    ([],),
    ([[1, 2]],),
    ([[5, 8], [1, 3], [2, 4]],),
    ([[1, 10], [2, 3]],),
    ([[1, 2], [2, 3], [4, 5]],),
    ([[0, 0], [-5, -1], [-2, 4]],),
]


def list_middle() -> list[Task]:
    """Two ideas, or one with corner cases."""
    tasks = [
        task("middle", f"shift_letters_by_{k}(text)",
             f"It shifts every letter from a to z and A to Z {k} places on in the alphabet, beginning again at a after z; the rest stays.",
             f"out = ''\nfor c in text:\n    if 'a' <= c <= 'z':\n        out += chr((ord(c) - 97 + {k}) % 26 + 97)\n    elif 'A' <= c <= 'Z':\n"
             f"        out += chr((ord(c) - 65 + {k}) % 26 + 65)\n    else:\n        out += c\nreturn out", [example], TEXTS)
        for k, example in ((3, ("'xyz A'", "'abc D'")), (11, ("'ab, Z'", "'lm, K'")))
    ]  # fmt: skip
    tasks += [
        task("middle", f"chunks_of_{k}(items)", f"It cuts the list into lists of {k} items; the last may be shorter.",
             f"return [items[i : i + {k}] for i in range(0, len(items), {k})]", [example], [([],), ([1],), (list(range(10)),), (list("abcdefgh"),)])
        for k, example in ((3, ("[1, 2, 3, 4]", "[[1, 2, 3], [4]]")), (4, ("[1, 2, 3, 4, 5]", "[[1, 2, 3, 4], [5]]")))
    ]  # fmt: skip
    tasks += [
        task("middle", f"to_base_{k}(n)", f"It writes a whole number in base {k} as a text, with a minus sign where it is negative; 0 is '0'.",
             f"if n == 0:\n    return '0'\ndigits, m = '', abs(n)\nwhile m:\n    digits = str(m % {k}) + digits\n    m //= {k}\nreturn ('-' if n < 0 else '') + digits",
             [example], [(0,), (1,), (-5,), (48,), (100,), (12345,), (-343,)])
        for k, example in ((3, ("5", "'12'")), (5, ("-7", "'-12'")), (7, ("50", "'101'")))
    ]  # fmt: skip
    tasks += [
        task("middle", f"best_window_of_{k}(numbers)", f"It returns the largest sum of {k} neighbouring numbers, None where there are fewer than {k}.",
             f"sums = [sum(numbers[i : i + {k}]) for i in range(len(numbers) - {k} + 1)]\nreturn max(sums) if sums else None", [example], NUMBERS)
        for k, example in ((2, ("[1, 5, 2]", "7")), (3, ("[1, 2, 3, -9, 8]", "6")))
    ]  # fmt: skip
    tasks += [
        task("middle", "run_lengths(text)", "It writes the text as pairs [character, count] of equal neighbours.",
             "pairs = []\nfor c in text:\n    if pairs and pairs[-1][0] == c:\n        pairs[-1][1] += 1\n    else:\n        pairs.append([c, 1])\nreturn pairs",
             [("'aab'", "[['a', 2], ['b', 1]]")], [*TEXTS, ("aaaabbbcca",)]),
        task("middle", "transpose(rows)", "It swaps the rows and columns of a list of equally long lists.",
             "return [list(column) for column in zip(*rows)]", [("[[1, 2], [3, 4], [5, 6]]", "[[1, 3, 5], [2, 4, 6]]")], MATRICES),
        task("middle", "rotate_right(rows)", "It turns a matrix, given as a list of rows, by a quarter clockwise.",
             "return [list(row) for row in zip(*rows[::-1])]", [("[[1, 2], [3, 4]]", "[[3, 1], [4, 2]]")], MATRICES),
        task("middle", "diagonal_difference(rows)", "It returns the sum of the main diagonal less that of the other, for a square matrix.",
             "n = len(rows)\nreturn sum(rows[i][i] - rows[i][n - 1 - i] for i in range(n))", [("[[1, 2], [3, 4]]", "0")],
             [([[7]],), ([[1, 2, 3], [4, 5, 6], [7, 8, 10]],), ([[0, -4], [9, 3]],)]),
        task("middle", "group_by_length(words)", "It returns a list of [length, words of that length in their order], shortest first.",
             "lengths = sorted({len(word) for word in words})\nreturn [[n, [w for w in words if len(w) == n]] for n in lengths]",
             [("['to', 'a', 'be']", "[[1, ['a']], [2, ['to', 'be']]]")], [([],), (["aa", "b", "cc", ""],), (["one", "three", "two"],)]),
        task("middle", "is_balanced(text)", "It returns whether the brackets ( ), [ ], { } in the text are closed in the right order; the rest is ignored.",
             "pairs, open_ones = {')': '(', ']': '[', '}': '{'}, []\nfor c in text:\n    if c in '([{':\n        open_ones.append(c)\n    elif c in pairs:\n"
             "        if not open_ones or open_ones.pop() != pairs[c]:\n            return False\nreturn not open_ones",
             [("'a(b[c]d)'", "True"), ("'(]'", "False")], [("",), ("((",), (")(",), ("{[()]}[]",), ("([)]",), ("no brackets",)]),
        task("middle", "most_common_letter(text)", "It returns the letter that occurs most, as a small letter; the first in the alphabet on a tie; '' where there is none.",
             "letters = sorted(c for c in text.lower() if c.isalpha())\nreturn max(letters, key=letters.count, default='')", [("'Banana'", "'a'")], TEXTS),
        task("middle", "roman(n)", "It writes a whole number from 1 to 3999 as a Roman numeral.",
             "out = ''\nfor value, sign in zip((1000, 900, 500, 400, 100, 90, 50, 40, 10, 9, 5, 4, 1),\n"
             "                       ('M', 'CM', 'D', 'CD', 'C', 'XC', 'L', 'XL', 'X', 'IX', 'V', 'IV', 'I')):\n    while n >= value:\n        out += sign\n"
             "        n -= value\nreturn out", [("14", "'XIV'"), ("1999", "'MCMXCIX'")], [(1,), (4,), (40,), (90,), (444,), (3999,), (2026,)]),
        task("middle", "from_roman(text)", "It reads a Roman numeral in capitals as a whole number.",
             "values = {'I': 1, 'V': 5, 'X': 10, 'L': 50, 'C': 100, 'D': 500, 'M': 1000}\ntotal = 0\nfor a, b in zip(text, text[1:] + ' '):\n"
             "    total += -values[a] if values[a] < values.get(b, 0) else values[a]\nreturn total", [("'XIV'", "14")],
             [("I",), ("IV",), ("XC",), ("MCMXCIX",), ("CDXLIV",), ("MMXXVI",)]),
        task("middle", "merge_sorted(a, b)", "It merges two ascending lists into one ascending list.",
             "return sorted(a + b)", [("[1, 4], [2, 3]", "[1, 2, 3, 4]")], [([], []), ([1], []), ([1, 1], [1]), ([-5, 0, 9], [-6, 10])]),
        task("middle", "prime_factors(n)", "It returns the prime factors of a whole number above 1 in ascending order, each as often as it divides.",
             "out, p = [], 2\nwhile p * p <= n:\n    while n % p == 0:\n        out.append(p)\n        n //= p\n    p += 1\nreturn out + [n] if n > 1 else out",
             [("12", "[2, 2, 3]")], [(2,), (97,), (360,), (1001,), (65536,), (999983,)]),
        task("middle", "primes_below(n)", "It returns all primes smaller than n in ascending order.",
             "return [k for k in range(2, n) if all(k % d for d in range(2, int(k**0.5) + 1))]", [("10", "[2, 3, 5, 7]")], [(0,), (2,), (3,), (50,), (200,)]),
        task("middle", "minutes_between(start, end)", "Both are times as 'HH:MM'. It returns the minutes from start to end; an end before the start is on the next day.",
             "def minutes(t):\n    return int(t[:2]) * 60 + int(t[3:])\nreturn (minutes(end) - minutes(start)) % 1440", [("'22:30', '01:00'", "150")],
             [("00:00", "00:00"), ("08:15", "08:14"), ("09:00", "17:45"), ("23:59", "00:00")]),
        task("middle", "parse_duration(text)", "The text is like '2h 5m 30s', any part may be missing. It returns the seconds.",
             "units = {'h': 3600, 'm': 60, 's': 1}\nreturn sum(int(part[:-1]) * units[part[-1]] for part in text.split())", [("'1h 30s'", "3630")],
             [("",), ("5m",), ("2h 5m 30s",), ("90s",), ("0h 0m 1s",)]),
        task("middle", "format_duration(seconds)", "It writes whole seconds as 'H:MM:SS', hours without leading zero.",
             "return f'{seconds // 3600}:{seconds % 3600 // 60:02d}:{seconds % 60:02d}'", [("3661", "'1:01:01'")], [(0,), (59,), (3600,), (86399,), (100000,)]),
        task("middle", "flatten(items)", "It returns one flat list of all values in nested lists of any depth, in order.",
             "out = []\nfor item in items:\n    out += flatten(item) if isinstance(item, list) else [item]\nreturn out", [("[1, [2, [3]], []]", "[1, 2, 3]")],
             [([],), ([[[]]],), ([1, "a", [None, [2.5]]],), ([[1, [2, [3, [4, [5]]]]]],)]),
        task("middle", "title_case(text)", "Every word begins with a capital and goes on small, but 'of', 'and', 'the' stay small unless first. Words are joined by one space.",
             "words = text.lower().split()\nreturn ' '.join(w if i and w in ('of', 'and', 'the') else w.capitalize() for i, w in enumerate(words))",
             [("'the lord OF the flies'", "'The Lord of the Flies'")], [*TEXTS, ("of mice and men",), ("AND then",)]),
        task("middle", "missing_numbers(numbers)", "It returns the whole numbers between the smallest and the largest that do not occur, ascending.",
             "return [n for n in range(min(numbers), max(numbers)) if n not in numbers] if numbers else []", [("[3, 6, 4]", "[5]")], NUMBERS),
        task("middle", "is_anagram(a, b)", "It returns whether both texts have the same letters equally often; case and all but letters are ignored.",
             "def key(t):\n    return sorted(c for c in t.lower() if c.isalpha())\nreturn key(a) == key(b)", [("'Dirty room', 'dormitory'", "True")],
             [("", ""), ("ab", "abb"), ("Listen!", "Silent"), ("abc", "abd")]),
        task("middle", "moving_average(numbers, n)", "It returns the means of every n neighbouring numbers, each rounded to two decimal places.",
             "return [round(sum(numbers[i : i + n]) / n, 2) for i in range(len(numbers) - n + 1)]", [("[1, 2, 6], 2", "[1.5, 4.0]")],
             [([], 2), ([1], 1), ([1, 2], 3), ([1, 1, 2, 3, 5, 8], 3), ([10, -10, 5], 3)]),
        task("middle", "common_prefix(words)", "It returns the longest text with which all words begin, '' for an empty list.",
             "if not words:\n    return ''\nout = ''\nfor letters in zip(*words):\n    if len(set(letters)) > 1:\n        break\n    out += letters[0]\nreturn out",
             [("['flower', 'flow', 'flight']", "'fl'")], [([],), (["a"],), (["abc", "abd", "ab"],), (["x", "y"],), (["", "a"],)]),
        task("middle", "word_counts(text)", "It returns an object from each word, small and without the marks . , ! ? around it, to how often it occurs.",
             "out = {}\nfor word in text.lower().split():\n    word = word.strip('.,!?')\n    if word:\n        out[word] = out.get(word, 0) + 1\nreturn out",
             [("'Yes, yes! No.'", "{'yes': 2, 'no': 1}")], [*TEXTS, ("... , !",), ("a b a, B? a!",)]),
    ]  # fmt: skip
    return tasks


def list_hard() -> list[Task]:
    """Small algorithms, and rules with exceptions."""
    tasks = [
        task("hard", f"coin_ways_{name}(amount)", f"It returns in how many ways the amount can be paid with coins of {coins}, each as often as wanted, order ignored.",
             f"ways = [1] + [0] * amount\nfor coin in ({coins}):\n    for i in range(coin, amount + 1):\n        ways[i] += ways[i - coin]\nreturn ways[amount]",
             [example], [(0,), (1,), (7,), (23,), (60,), (100,)])
        for name, coins, example in (("a", "1, 2, 5", ("5", "4")), ("b", "2, 3, 7", ("7", "2")), ("c", "1, 4, 6", ("8", "4")))
    ]  # fmt: skip
    tasks += [
        task("hard", f"climb_{name}(n)", f"It returns in how many ways n stairs can be climbed in steps of {steps}; the order matters, and 0 stairs are climbed in 1 way.",
             f"ways = [1] + [0] * n\nfor i in range(1, n + 1):\n    ways[i] = sum(ways[i - s] for s in ({steps}) if s <= i)\nreturn ways[n]", [example],
             [(0,), (1,), (2,), (7,), (15,), (30,)])
        for name, steps, example in (("a", "1, 2", ("3", "3")), ("b", "1, 3", ("4", "3")), ("c", "2, 3", ("5", "2")))
    ]  # fmt: skip
    tasks += [
        task("hard", f"survivor_{name}(n)", f"n people numbered 1 to n stand in a circle. Counting from person 1, every {word} person still there leaves. It returns the number of the last one.",
             f"people, at = list(range(1, n + 1)), 0\nwhile len(people) > 1:\n    at = (at + {k} - 1) % len(people)\n    people.pop(at)\nreturn people[0]", [example],
             [(1,), (2,), (6,), (13,), (41,)])
        for name, k, word, example in (("second", 2, "second", ("5", "3")), ("third", 3, "third", ("5", "4")))
    ]  # fmt: skip
    tasks += [
        task("hard", "merge_spans(spans)", "It merges spans [start, end] that overlap or touch and returns them by start.",
             "out = []\nfor start, end in sorted(spans):\n    if out and start <= out[-1][1]:\n        out[-1][1] = max(out[-1][1], end)\n    else:\n        out.append([start, end])\nreturn out",
             [("[[1, 3], [2, 4], [6, 7]]", "[[1, 4], [6, 7]]")], SPANS),
        task("hard", "busiest(spans)", "Each span [start, end] holds from start up to but not including end. It returns how many hold at the same time at most.",
             "events = sorted([(s, 1) for s, e in spans if e > s] + [(e, -1) for s, e in spans if e > s])\nbest = now = 0\nfor _, change in events:\n"
             "    now += change\n    best = max(best, now)\nreturn best", [("[[1, 4], [2, 5], [4, 6]]", "2")], SPANS),
        task("hard", "longest_rise(numbers)", "It returns the length of the longest strictly rising subsequence; items need not be neighbours.",
             "best = []\nfor i, n in enumerate(numbers):\n    best.append(1 + max((best[j] for j in range(i) if numbers[j] < n), default=0))\nreturn max(best, default=0)",
             [("[3, 1, 2, 9, 4]", "3")], NUMBERS),
        task("hard", "edit_distance(a, b)", "It returns the fewest single-character insertions, deletions and replacements that turn a into b.",
             "row = list(range(len(b) + 1))\nfor i, x in enumerate(a, 1):\n    new = [i]\n    for j, y in enumerate(b, 1):\n"
             "        new.append(min(row[j] + 1, new[-1] + 1, row[j - 1] + (x != y)))\n    row = new\nreturn row[-1]", [("'kitten', 'sitting'", "3")],
             [("", ""), ("abc", ""), ("flaw", "lawn"), ("same", "same"), ("intention", "execution")]),
        task("hard", "common_subsequence(a, b)", "It returns the length of the longest subsequence both texts share; characters need not be neighbours.",
             "row = [0] * (len(b) + 1)\nfor x in a:\n    new = [0]\n    for j, y in enumerate(b):\n        new.append(row[j] + 1 if x == y else max(row[j + 1], new[-1]))\n"
             "    row = new\nreturn row[-1]", [("'abcde', 'ace'", "3")], [("", "a"), ("abc", "def"), ("banana", "ananas"), ("aaaa", "aa")]),
        task("hard", "evaluate(text)", "The text is a sum with whole numbers, + - * and brackets, without a sign in front of a number. It returns the value; * binds stronger.",
             "tokens, number = [], ''\nfor c in text + ' ':\n    if c.isdigit():\n        number += c\n        continue\n    if number:\n        tokens.append(int(number))\n        number = ''\n"
             "    if c in '+-*()':\n        tokens.append(c)\ndef factor():\n    token = tokens.pop(0)\n    if token == '(':\n        value = total()\n        tokens.pop(0)\n        return value\n"
             "    return token\ndef product():\n    value = factor()\n    while tokens and tokens[0] == '*':\n        tokens.pop(0)\n        value *= factor()\n    return value\n"
             "def total():\n    value = product()\n    while tokens and tokens[0] in ('+', '-'):\n        value += product() if tokens.pop(0) == '+' else -product()\n    return value\nreturn total()",
             [("'2 + 3 * (4 - 1)'", "11")], [("7",), ("1-2-3",), ("2*(3+4)*5",), ("((8))",), ("10 - 2 * 3 + 4",), ("100*100-(50-(25-5))",)]),
        task("hard", "shortest_path(rows)", "rows is a list of texts: '.' is free, '#' a wall. It returns the fewest steps up, down, left or right from the top left to the bottom right, -1 where there is no way.",
             "h, w = len(rows), len(rows[0])\nif rows[0][0] == '#' or rows[-1][-1] == '#':\n    return -1\nsteps, edge = {(0, 0): 0}, [(0, 0)]\nfor y, x in edge:\n"
             "    for a, b in ((y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)):\n        if 0 <= a < h and 0 <= b < w and rows[a][b] == '.' and (a, b) not in steps:\n"
             "            steps[a, b] = steps[y, x] + 1\n            edge.append((a, b))\nreturn steps.get((h - 1, w - 1), -1)", [("['..', '#.']", "2")],
             [(["."],), (["#"],), (["..", "##", ".."],), (["...", ".#.", "..."],), ([".#...", ".#.#.", "...#."],)]),
        task("hard", "count_islands(rows)", "rows is a list of texts: 'x' is land, '.' water. It returns how many islands there are; land touches up, down, left and right.",
             "land = {(y, x) for y, row in enumerate(rows) for x, c in enumerate(row) if c == 'x'}\nn = 0\nwhile land:\n    n += 1\n    edge = [land.pop()]\n"
             "    while edge:\n        y, x = edge.pop()\n        for near in ((y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)):\n            if near in land:\n"
             "                land.remove(near)\n                edge.append(near)\nreturn n", [("['x.', '.x']", "2")], [([],), (["..."],), (["xx", "xx"],), (["x.x", "xxx", "..."],), (["x.x.x"],)]),
        task("hard", "spiral(rows)", "It returns the values of a matrix from the top left clockwise inwards.",
             "rows, out = [list(r) for r in rows], []\nwhile rows:\n    out += rows.pop(0)\n    rows = [list(r) for r in zip(*rows)][::-1]\nreturn out",
             [("[[1, 2], [3, 4]]", "[1, 2, 4, 3]")], MATRICES),
        task("hard", "topological_order(pairs)", "Each pair [a, b] says that a comes before b. It returns all names in an order that keeps every pair, the alphabetically first free name each time; [] where there is none.",
             "names = sorted({n for pair in pairs for n in pair})\nout = []\nwhile names:\n    free = [n for n in names if not any(b == n and a in names for a, b in pairs)]\n"
             "    if not free:\n        return []\n    out.append(free[0])\n    names.remove(free[0])\nreturn out", [("[['b', 'a'], ['b', 'c']]", "['b', 'a', 'c']")],
             [([],), ([["a", "a"]],), ([["a", "b"], ["b", "a"]],), ([["c", "a"], ["d", "b"], ["a", "b"]],)]),
        task("hard", "knapsack(weights, values, limit)", "It returns the largest total value of items, each used at most once, whose total weight is at most the limit.",
             "best = [0] * (limit + 1)\nfor w, v in zip(weights, values):\n    for room in range(limit, w - 1, -1):\n        best[room] = max(best[room], best[room - w] + v)\nreturn best[limit]",
             [("[2, 3, 4], [3, 4, 6], 6", "9")], [([], [], 5), ([5], [9], 4), ([1, 2, 3], [6, 10, 12], 5), ([3, 3, 3, 5], [4, 4, 4, 9], 9)]),
        task("hard", "best_trade(prices)", "It returns the most that can be earned by buying on one day and selling on a later one, 0 where nothing can.",
             "best, low = 0, None\nfor p in prices:\n    low = p if low is None else min(low, p)\n    best = max(best, p - low)\nreturn best", [("[7, 1, 5, 3, 6]", "5")], NUMBERS),
        task("hard", "best_two_apart(numbers)", "It returns the largest sum of numbers no two of which are neighbours; an empty choice has sum 0.",
             "take = skip = 0\nfor n in numbers:\n    take, skip = skip + n, max(take, skip)\nreturn max(take, skip)", [("[2, 7, 9, 3, 1]", "12")], NUMBERS),
        task("hard", "life_step(rows)", "rows is a list of texts of 'x' (alive) and '.'. It returns the next step of Conway's game of life; outside all is dead.",
             "def alive(y, x):\n    return 0 <= y < len(rows) and 0 <= x < len(rows[0]) and rows[y][x] == 'x'\nout = []\nfor y in range(len(rows)):\n    line = ''\n"
             "    for x in range(len(rows[0])):\n        n = sum(alive(y + a, x + b) for a in (-1, 0, 1) for b in (-1, 0, 1) if a or b)\n"
             "        line += 'x' if n == 3 or (n == 2 and alive(y, x)) else '.'\n    out.append(line)\nreturn out", [("['.x.', '.x.', '.x.']", "['...', 'xxx', '...']")],
             [(["xx", "xx"],), (["...", "...", "..."],), (["xxx", "xxx", "xxx"],), ([".....", ".xxx.", "xxx..", "....."],)]),
        task("hard", "permutation_rank(items)", "The list is an arrangement of different numbers. It returns its place among all arrangements in ascending order, the first being 0.",
             "rank = 0\nfor i, x in enumerate(items):\n    smaller, ways = sum(y < x for y in items[i + 1 :]), 1\n    for k in range(1, len(items) - i):\n        ways *= k\n"
             "    rank += smaller * ways\nreturn rank", [("[2, 1, 3]", "2")], [([],), ([5],), ([3, 2, 1],), ([1, 4, 2, 3],), ([9, 7, 5, 3, 1, 0],)]),
        task("hard", "wrap_text(text, width)", "It breaks the words into lines of at most width characters, as many words a line as fit, longer words on a line of their own. It returns the lines.",
             "lines = []\nfor word in text.split():\n    if lines and len(lines[-1]) + 1 + len(word) <= width:\n        lines[-1] += ' ' + word\n    else:\n        lines.append(word)\nreturn lines",
             [("'a bb ccc dd', 4", "['a bb', 'ccc', 'dd']")], [("", 5), ("word", 2), ("one two three four five", 9), ("aa bb cc dd", 5), ("a b c d e f", 1)]),
        task("hard", "next_larger(numbers)", "It returns for each number the first larger one to its right, None where there is none.",
             "return [next((m for m in numbers[i + 1 :] if m > n), None) for i, n in enumerate(numbers)]", [("[2, 1, 3]", "[3, 3, None]")], NUMBERS),
        task("hard", "rain_held(heights)", "Walls of width 1 have these heights. It returns how many units of water stay between them after rain.",
             "return sum(max(0, min(max(heights[: i + 1]), max(heights[i:])) - h) for i, h in enumerate(heights))", [("[3, 0, 2]", "2")],
             [([],), ([1],), ([2, 2],), ([0, 1, 0, 2, 1, 0, 1, 3],), ([5, 1, 1, 5],), ([4, 2, 0, 3, 2, 5],)]),
        task("hard", "expand(text)", "A number before square brackets repeats what is within, also nested: '2[ab]' is 'abab'. It returns the text written out.",
             "stack, count = [['', 1]], ''\nfor c in text:\n    if c.isdigit():\n        count += c\n    elif c == '[':\n        stack.append(['', int(count)])\n        count = ''\n"
             "    elif c == ']':\n        inner, n = stack.pop()\n        stack[-1][0] += inner * n\n    else:\n        stack[-1][0] += c\nreturn stack[0][0]", [("'a2[b3[c]]'", "'abcccbccc'")],
             [("",), ("xyz",), ("10[z]",), ("2[a]3[b]",), ("1[1[1[q]]]",), ("2[2[2[w]]v]",)]),
        task("hard", "smallest_missing(numbers)", "It returns the smallest whole number from 1 on that the list does not hold.",
             "n = 1\nwhile n in numbers:\n    n += 1\nreturn n", [("[3, 4, -1, 1]", "2")], NUMBERS),
        task("hard", "queens(n)", "It returns in how many ways n queens stand on an n by n board so that none attacks another.",
             "def place(row, columns, up, down):\n    if row == n:\n        return 1\n    return sum(place(row + 1, columns | {c}, up | {row + c}, down | {row - c}) for c in range(n)\n"
             "               if c not in columns and row + c not in up and row - c not in down)\nreturn place(0, frozenset(), frozenset(), frozenset())", [("4", "2")], [(1,), (2,), (5,), (6,), (7,)]),
        task("hard", "subsets_with_sum(numbers, target)", "It returns how many choices of the numbers, by place, add up to the target; the empty choice counts for 0.",
             "sums = {0: 1}\nfor n in numbers:\n    new = dict(sums)\n    for s, k in sums.items():\n        new[s + n] = new.get(s + n, 0) + k\n    sums = new\nreturn sums.get(target, 0)",
             [("[1, 2, 3], 3", "2")], [([], 0), ([1], 2), ([2, 2, 2], 4), ([-1, 1, 0], 0), ([5, 3, 8, 2, 7], 10)]),
        task("hard", "compare_versions(a, b)", "Versions are like '1.10.2'; missing parts are 0. It returns -1, 0 or 1 as a is older, equal or newer.",
             "x, y = ([int(p) for p in v.split('.')] for v in (a, b))\nn = max(len(x), len(y))\nx, y = x + [0] * (n - len(x)), y + [0] * (n - len(y))\nreturn (x > y) - (x < y)",
             [("'1.2', '1.10'", "-1")], [("1", "1.0.0"), ("2.0", "1.9.9"), ("0.1", "0.0.9"), ("10", "9.99")]),
        task("hard", "csv_fields(line)", "It splits a line at commas; a field in double quotes may hold commas, and two quotes within it are one. It returns the fields without their quotes.",
             "fields, field, quoted, i = [], '', False, 0\nwhile i < len(line):\n    c = line[i]\n    if quoted and c == '\"' and line[i + 1 : i + 2] == '\"':\n        field += c\n        i += 1\n"
             "    elif c == '\"':\n        quoted = not quoted\n    elif c == ',' and not quoted:\n        fields.append(field)\n        field = ''\n    else:\n        field += c\n    i += 1\nreturn fields + [field]",
             [("'a,\"b,c\",d'", "['a', 'b,c', 'd']")], [("",), (",",), ('"x ""y"" z",1',), ("a,,b",), ('"",q',)]),
    ]  # fmt: skip
    return tasks


TASKS: tuple[Task, ...] = (*list_easy(), *list_middle(), *list_hard(), *MORE_TASKS)
"""Every task; names are unique."""
