"""The browser that tests of pages use fails them when it should."""

import pytest

from tests.browser import Browser, running_browser


async def test_complaints_fail_a_test() -> None:
    """An error in the console, an exception in a script and a request to another host each do."""
    for content, words in (
        ("<script>console.error('odd')</script>", "odd"),
        ("<script>throw new Error('thrown')</script>", "thrown"),
        ("<img src='http://elsewhere.example/a.png'>", "asked another host: http://elsewhere.example/a.png"),
    ):
        with pytest.raises(AssertionError, match=words):
            async with running_browser() as browser:
                await (await browser.page()).set_content(content, wait_until="load")


async def test_expected_complaints_do_not(browser: Browser) -> None:
    """A test that wanted the complaint says so; a complaint that never came fails it."""
    await (await browser.page()).set_content("<script>console.error('odd')</script>")
    browser.expect_complaint("od+")
    with pytest.raises(AssertionError, match="nobody complained"):
        browser.expect_complaint("od+")
