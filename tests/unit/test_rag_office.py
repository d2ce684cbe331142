"""What presentations, spreadsheets, Word files and PDFs keep of their structure."""

import datetime
import io
from collections.abc import Callable

import docx
import openpyxl
import whole
from docx.oxml import parse_xml
from pptx import Presentation
from pptx.util import Inches

from rag.cells import shown
from rag.document import Document
from rag.parse_docx import parse_docx
from rag.parse_pdf import parse_pdf
from rag.parse_pptx import parse_pptx
from rag.parse_xlsx import parse_xlsx

W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'


def exact(document: Document) -> Document:
    assert all(document.text[block.start : block.end] == block.text for block in document.blocks)
    return document


def saved(made: object) -> bytes:
    save: Callable[[io.BytesIO], None] = made.save  # type: ignore[attr-defined]
    save(out := io.BytesIO())
    return out.getvalue()


def test_slides_are_read_as_they_are_seen() -> None:
    deck = Presentation()
    deck.slides.add_slide(deck.slide_layouts[6])
    slide = deck.slides.add_slide(deck.slide_layouts[5])
    slide.shapes.title.text = "Budget"
    slide.shapes.add_textbox(Inches(1), Inches(5), Inches(3), Inches(1)).text_frame.text = "last"
    slide.shapes.add_textbox(Inches(5), Inches(2), Inches(3), Inches(1)).text_frame.text = "right"
    slide.shapes.add_textbox(Inches(1), Inches(2.02), Inches(3), Inches(1)).text_frame.text = "left"
    group = slide.shapes.add_group_shape()
    group.shapes.add_textbox(Inches(1), Inches(3), Inches(1), Inches(1)).text_frame.text = "grouped"
    table = slide.shapes.add_table(2, 2, Inches(1), Inches(4), Inches(3), Inches(1)).table
    for at, text in enumerate(("item", "sum", "rent", "500")):
        table.cell(at // 2, at % 2).text = text
    slide.notes_slide.notes_text_frame.text = "Say that rents rise."
    hidden = deck.slides.add_slide(deck.slide_layouts[5])
    hidden.shapes.title.text = "Old figures"
    hidden.element.set("show", "0")
    document = exact(parse_pptx(saved(deck), "a.pptx", "a"))
    assert document.text == (
        "Slide 2 · Budget\n\nleft\n\nright\n\ngrouped\n\nitem | sum\nrent | 500\n\nlast\n\nNotes: Say that rents rise."
        "\n\nSlide 3 · Old figures (hidden)"
    )
    assert document.blocks[-2].heading == ("Slide 2 · Budget",)


def test_one_broken_slide_does_not_lose_the_others() -> None:
    deck = Presentation()
    for word in ("one", "two", "three"):
        deck.slides.add_slide(deck.slide_layouts[5]).shapes.title.text = word
    text = parse_pptx(whole.put(saved(deck), "ppt/slides/slide2.xml", b"<broken/>"), "a.pptx", "a").text
    assert "Slide 1 · one" in text and "Slide 3 · three" in text


def workbook() -> bytes:
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = "Budget"
    sheet["A1"] = "All sums in euros"
    for row in (["Item", "Due", 2024, "Share"], ["Rent", datetime.date(2024, 5, 1), 1234.5, 0.153], ["=A4", None, "=1+1", None]):
        sheet.append(row)
    sheet["C3"].number_format, sheet["D3"].number_format = "#,##0.00 [$€-407]", "0.0%"
    book.create_chartsheet("Chart")
    lists = book.create_sheet("Lists")
    lists.sheet_state = "hidden"
    lists.append(["only"])
    return saved(book)


def test_each_row_of_a_sheet_says_what_it_tells() -> None:
    document = exact(parse_xlsx(workbook(), "b.xlsx", "b"))
    rows = [(block.text, block.heading) for block in document.blocks if block.kind != "heading"]
    assert rows == [
        ("All sums in euros", ("Sheet Budget",)),
        ("Item: Rent | Due: 2024-05-01 | 2024: 1,234.50 € | Share: 15.3%", ("Sheet Budget", "Rows 3-3")),
        ("only", ("Sheet Lists (hidden)", "Rows 1-1")),
    ], "a formula that was never computed has no value"


def test_a_sheet_that_openpyxl_refuses_is_read_by_the_other() -> None:
    odd = whole.edit(workbook(), "xl/styles.xml", b"<fonts", b"<fonts count='x'><font><sz val='big'/></font></fonts><fonts")
    assert "Item: Rent | Due: 2024-05-01 | 2024: 1234.5" in parse_xlsx(odd, "b.xlsx", "b").text
    old = exact(parse_xlsx(whole.seeds()["xls"], "b.xls", "b"))
    assert "name: Bob | days: 29.5" in old.text and "Sheet Lists (hidden)" in old.text


def test_a_cell_in_the_far_corner_costs_nothing() -> None:
    book = openpyxl.Workbook()
    book.active["A1"], book.active["XFD1048576"] = "near", "far"
    assert "near" in parse_xlsx(saved(book), "b.xlsx", "b").text


def test_numbers_are_shown_as_people_read_them() -> None:
    told = {
        (0.1 + 0.2, "General"): "0.3",
        (30.0, "General"): "30",
        (1e20, "General"): "1e+20",
        (1234567, "#,##0"): "1,234,567",
        (-5, '"$"#,##0.00;[Red]-"$"#,##0.00'): "-$5.00",
        (5, "$#,##0.00"): "$5.00",
        (0.5, "0%"): "50%",
        (1.5, "# ?/?"): "1.5",
        (True, "General"): "TRUE",
        (datetime.datetime(2024, 5, 1, 14, 30), "x"): "2024-05-01 14:30",
        (datetime.time(9, 5), "x"): "09:05",
        (datetime.timedelta(hours=30, minutes=5), "[h]:mm"): "30:05",
        (float("inf"), "0.0"): "inf",
    }
    assert {key: shown(*key) for key in told} == told


def test_a_word_file_loses_none_of_its_words() -> None:
    made = docx.Document()
    made.styles.add_style("House heading", 1).base_style = made.styles["Heading 2"]
    made.add_paragraph("Scope", style="House heading")
    inside = "<w:p><w:r><w:t>{}</w:t></w:r></w:p>"
    for xml in (
        f"<w:sdt {W}><w:sdtContent>{inside.format('controlled')}</w:sdtContent></w:sdt>",
        f"<w:p {W}><w:r><w:t>was </w:t></w:r><w:ins><w:r><w:t>inserted</w:t></w:r></w:ins>"
        "<w:del><w:r><w:delText>x</w:delText></w:r></w:del></w:p>",
        f"<w:p {W}><w:r><w:t>anchor</w:t><w:txbxContent>{inside.format('boxed')}</w:txbxContent></w:r></w:p>",
    ):
        made.element.body.insert(-1, parse_xml(xml))
    table = made.add_table(2, 3)
    for at, text in enumerate(("yes", "yes", "no", "", "b", "c")):
        table.cell(at // 3, at % 3).text = text
    table.cell(0, 0).merge(table.cell(1, 0))
    table.cell(1, 2).add_table(1, 1).cell(0, 0).text = "nested"
    document = exact(parse_docx(saved(made), "a.docx", "a"))
    assert document.text == "Scope\n\ncontrolled\n\nwas inserted\n\nanchor\n\nboxed\nyes | yes | no\nyes | b | c nested"
    assert document.blocks[-1].heading == ("Scope",)


def pages(*texts: str, marks: str = "") -> bytes:
    objects = whole.page(whole.words(""), kids=f"[{' '.join(f'{20 + 2 * n} 0 R' for n in range(len(texts)))}]", count=len(texts))
    for number, text in enumerate(texts):
        objects[20 + 2 * number] = str(objects[3]).replace("4 0 R", f"{21 + 2 * number} 0 R")
        objects[21 + 2 * number] = whole.words(text)
    if marks:
        objects[1] = "<< /Type /Catalog /Pages 2 0 R /Outlines 5 0 R >>"
        objects[5] = "<< /First 6 0 R /Last 8 0 R >>"
        for at, (title, page) in enumerate(entry.split("@") for entry in marks.split(";")):
            following = f"/Next {7 + at} 0 R" if at < marks.count(";") else ""
            objects[6 + at] = f"<< /Title ({title}) /Parent 5 0 R {following} /Dest [{20 + 2 * int(page)} 0 R /Fit] >>"
    return whole.pdf(objects)


def test_lines_that_run_through_all_pages_stand_once() -> None:
    body = "Staff rules 2024\nThis page speaks of matter {0}.\n12 {1}4\nPage {0} of 6"
    document = exact(parse_pdf(pages(*(body.format(n, n * n) for n in range(1, 7))), "a.pdf", "a"))
    assert document.text.count("Staff rules") == 1 and document.text.count("of 6") == 1
    assert all(f"matter {n}." in document.text and f"12 {n * n}4" in document.text for n in range(1, 7)), "a column of figures stays"
    same = parse_pdf(pages(*["The same line."] * 6), "b.pdf", "b")
    assert same.text.count("The same line.") == 6, "a page keeps what it has"


def test_bookmarks_become_headings() -> None:
    made = pages("1 Leave\nThirty days for all.\n2 Travel\nBy train.", "More of travel.", "By sea.", marks="Leave@0;Travel@0;Ships@2")
    document = exact(parse_pdf(made, "a.pdf", "a"))
    assert [(block.text, block.heading) for block in document.blocks] == [
        ("1 Leave", ("1 Leave",)),
        ("Thirty days for all.", ("1 Leave",)),
        ("2 Travel", ("2 Travel",)),
        ("By train.", ("2 Travel",)),
        ("More of travel.", ("2 Travel",)),
        ("By sea.", ("Ships",)),
    ]
