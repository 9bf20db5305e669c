"""The support desk in a real browser: a colleague with a mail before them, whose clicks are counted."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from playwright.sync_api import BrowserContext, Locator, Page, expect

from accounts.models import AuditEntry

# A press of a button and a form that is sent by Enter count alike: for the latter a browser makes a click of its own
# on the form's button, or where it has none there is only the sending. What is typed or pasted is no click.
COUNT = """
let last = -1;
addEventListener("click", (event) => { if (event.isTrusted) { last = event.timeStamp; countClick(); } }, true);
addEventListener("submit", (event) => { if (event.isTrusted && event.timeStamp - last > 300) countClick(); }, true);
"""


@dataclass
class Desk:
    page: Page
    tell: Callable[[str, object], None]
    clicks: int = 0

    def count(self) -> None:
        self.clicks += 1

    def search(self, pasted: str) -> None:
        """Look for what the mail holds, from the overview."""
        self.page.goto("/admin/")
        box = self.page.get_by_label("Search the back office").last
        self.page.keyboard.press("/")
        expect(box).to_be_focused()
        self.page.keyboard.insert_text(pasted)
        self.page.keyboard.press("Enter")
        self.page.wait_for_url(re.compile(r"/admin/(?!$)"))

    def reads(self, *words: str | re.Pattern[str]) -> None:
        """The page says why, in words that are to be seen."""
        for each in words:
            expect(self.page.get_by_text(each).first).to_be_visible()
        self.tell("clicks_to_find", self.clicks)

    def press(self, label: str) -> None:
        """A link or a button, of several with this label the last."""
        found = self.page.get_by_role("link", name=label).or_(self.page.get_by_role("button", name=label))
        found.last.click()

    def choose(self, label: str, beginning: str) -> None:
        """By the keyboard: an option is chosen by how it begins."""
        field = self.page.get_by_label(label)
        field.focus()
        self.page.keyboard.type(beginning)

    def write(self, label: str, text: str) -> Locator:
        field = self.page.get_by_label(label)
        field.fill(text)
        return field

    def ends(self, story: str, *, done: str | re.Pattern[str], at_most: int) -> None:
        """It is done, and took no more clicks than this."""
        expect(self.page.get_by_text(done).first).to_be_visible()
        self.tell("story", story)
        self.tell("clicks", self.clicks)
        assert self.clicks <= at_most


def counted(context: BrowserContext, tell: Callable[[str, object], None]) -> Desk:
    """A page whose clicks are counted, also over pages that follow."""
    desk = Desk(context.new_page(), tell)
    context.expose_binding("countClick", lambda source: desk.count())
    context.add_init_script(COUNT)
    return desk


def reason_of(action: str) -> str:
    """What was said for the last such act, by somebody on the staff."""
    entry = AuditEntry.objects.filter(action=action).latest("pk")
    assert entry.actor and entry.actor.is_staff
    return str(entry.after.get("reason", ""))
