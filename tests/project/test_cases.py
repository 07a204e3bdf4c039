"""Every hostile condition has a test that names it; every test that is called slow exists."""

from tests.support import ROOT, cases, marks


def test_the_readme_of_the_tests_is_up_to_date():
    assert cases.README.read_text(encoding="utf-8") == cases.readme(), (
        "run python tests/support/cases.py"
    )


def test_every_case_has_a_test():
    expected = [
        f"{letter}{n:02}"
        for letter, most in zip("FPSW", (42, 38, 16, 1), strict=True)
        for n in range(1, most + 1)
    ]
    assert list(cases.CASES) == expected
    assert set(cases.tests_of_cases()) == set(expected)


def test_every_test_that_is_marked_slow_exists():
    for name in marks.slow_tests():
        file, _, test = name.partition("::")
        text = (ROOT / "tests" / file).read_text(encoding="utf-8")
        assert f"def {test}(" in text, f"{name}: correct or remove it in tests/slow.txt"
