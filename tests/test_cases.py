"""Every hostile condition has a test that names it, or a reason why not."""

import cases


def test_the_readme_of_the_tests_is_up_to_date():
    assert cases.README.read_text(encoding="utf-8") == cases.readme(), "run python tests/cases.py"


def test_every_case_has_a_test_or_a_reason_why_not():
    expected = [
        f"{letter}{n:02}"
        for letter, most in zip("FPS", (38, 23, 15), strict=True)
        for n in range(1, most + 1)
    ]
    assert list(cases.CASES) == expected
    named = set(cases.tests_of_cases())
    excused = cases.LEFT_OUT.keys()
    assert named | excused == set(expected)
    assert not named & excused, "these have a test after all"
