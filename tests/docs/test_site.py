"""The pages of the site: all are in its menu, and none contradicts another."""

import re

import pytest

from tests.docs.blocks import ROOT, pages


def navigation():
    """Paths of the pages in the menu."""
    text = (ROOT / "mkdocs.yml").read_text()
    return re.findall(r"[\w/]+\.md", text[text.index("\nnav:") :])


def test_every_page_is_in_the_menu_once():
    found = {page.removeprefix("docs/") for page in pages()} - {"README.md"}
    assert sorted(navigation()) == sorted(found)


def test_every_recipe_is_in_the_list_of_recipes():
    listed = (ROOT / "docs" / "recipes.md").read_text()
    for path in (ROOT / "docs" / "recipes").glob("*.md"):
        assert f"(recipes/{path.name})" in listed, path.name


def test_the_headline_table_is_the_same_in_both_places():
    def rows(path):
        text = (ROOT / path).read_text()
        found = re.findall(r"^\|.*\|$", text, re.M)
        start = next(
            i for i, row in enumerate(found) if row.startswith("| network, da")
        )
        return [row.replace("(docs/", "(") for row in found[start : start + 7]]

    assert rows("README.md") == rows("docs/index.md")


@pytest.mark.parametrize("page", pages())
def test_links_to_pages_and_pictures_lead_somewhere(page):
    path = ROOT / page
    for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", path.read_text()):
        assert (path.parent / target).exists(), target
