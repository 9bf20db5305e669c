"""The clicks of the support stories, told at the end of a run."""

from _pytest.terminal import TerminalReporter


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """Say how many clicks each story took from the mail to the fix: a form that is sent by Enter counts as one."""
    told = [
        dict(report.user_properties)
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", "") == "call"
    ]
    stories = sorted(
        f"{each['story']} {each['clicks']} (cause after {each['clicks_to_find']})"
        for each in told
        if "clicks" in each
    )
    if stories:
        terminalreporter.section("Support stories: clicks from mail to fix, forms that were sent among them")
        for story in stories:
            terminalreporter.write_line(story)
