"""Invoices and receipts as PDF: one page of text and lines, written directly, without a library."""

import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from textwrap import wrap

WIDTH, HEIGHT = 595, 842  # A4, in points
LEFT, RIGHT, TOP, BOTTOM = 56, 539, 786, 70
DIGIT_WIDTHS = {" ": 278, ",": 278, ".": 278, "-": 333, "$": 556}


@dataclass
class Document:
    """Pages that are filled from the top; a full one is followed by another."""

    title: str
    pages: list[list[str]] = field(default_factory=lambda: [[]])
    y: float = TOP

    def space(self, height: float) -> None:
        self.y -= height
        if self.y < BOTTOM:
            self.pages.append([])
            self.y = TOP

    def text(self, x: float, text: str, *, size: float = 10, bold: bool = False) -> None:
        self.pages[-1].append(
            f"BT /{'F2' if bold else 'F1'} {size:g} Tf {x:.2f} {self.y:.2f} Td ({_escaped(text)}) Tj ET"
        )

    def right(self, x: float, text: str, *, size: float = 10, bold: bool = False) -> None:
        """Write an amount so that it ends at x."""
        width = sum(DIGIT_WIDTHS.get(letter, 556) for letter in text) * size / 1000
        self.text(x - width, text, size=size, bold=bold)

    def rule(self) -> None:
        self.pages[-1].append(f"0.6 G {LEFT} {self.y:.2f} m {RIGHT} {self.y:.2f} l S 0 G")

    def paragraph(self, lines: Iterable[str], *, x: float = LEFT, size: float = 10) -> None:
        for line in lines:
            for part in wrap(line, 90) or [""]:
                self.text(x, part, size=size)
                self.space(size * 1.4)

    def rows(self, rows: list[tuple[str, str, str]]) -> None:
        """Write rows of description, quantity and amount."""
        for description, quantity, amount in rows:
            self.right(430, quantity)
            self.right(RIGHT, amount)
            for part in wrap(description, 58) or [""]:
                self.text(LEFT, part)
                self.space(14)
            self.space(4)

    def render(self) -> bytes:
        """Return the file."""
        objects = ["<< /Type /Catalog /Pages 2 0 R >>", ""]
        objects += [
            f"<< /Type /Font /Subtype /Type1 /BaseFont /{name} /Encoding /WinAnsiEncoding >>"
            for name in ("Helvetica", "Helvetica-Bold")
        ]
        objects.append(f"<< /Title ({_escaped(self.title)}) /Producer (Simulated) >>")
        body: list[bytes] = [text.encode("cp1252", "replace") for text in objects]
        kids = []
        for commands in self.pages:
            stream = zlib.compress("\n".join(commands).encode("cp1252", "replace"))
            body.append(
                b"<< /Length %d /Filter /FlateDecode >>\nstream\n%s\nendstream" % (len(stream), stream)
            )
            body.append(
                f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {WIDTH} {HEIGHT}] /Contents {len(body)} 0 R"
                " /Resources << /Font << /F1 3 0 R /F2 4 0 R >> >> >>".encode()
            )
            kids.append(f"{len(body)} 0 R")
        body[1] = f"<< /Type /Pages /Kids [{' '.join(kids)}] /Count {len(kids)} >>".encode()
        return _file(body)


def _file(objects: list[bytes]) -> bytes:
    out = bytearray(b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n")
    places = []
    for number, content in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    for place in places:
        out += b"%010d 00000 n \n" % place
    out += b"trailer\n<< /Size %d /Root 1 0 R /Info 5 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (
        len(objects) + 1,
        start,
    )
    return bytes(out)


def _escaped(text: str) -> str:
    return (
        text.replace("\\", "\\\\")
        .replace("(", "\\(")
        .replace(")", "\\)")
        .replace("\r", " ")
        .replace("\n", " ")
    )
