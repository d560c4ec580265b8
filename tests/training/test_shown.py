"""How models, groups and results show themselves."""

import html

import pytest

import tf_lossprune
from tests.training import small


@pytest.fixture(scope="module")
def fitted():
    pruned = small.compile_model(small.prune(small.network()))
    before = repr(pruned)
    small.fit(pruned)
    return before, pruned


@pytest.fixture(scope="module")
def result():
    _, found = tf_lossprune.compress(
        small.network(),
        0.5,
        small.data(),
        small.data(),
        method="uniform",
        exclude="second",
        epochs=1,
        loss="sparse_categorical_crossentropy",
        optimizer="sgd",
        metrics=["accuracy"],
        verbose=0,
    )
    return found


def test_a_pruned_model_says_budget_phase_and_cost_in_a_line(fitted):
    before, pruned = fitted
    assert "warm-up; MACs at 100.0 %" in before and "budget: MACs 50 %" in before
    share = tf_lossprune.cost(tf_lossprune.strip_pruning(pruned))["macs"] / 448
    assert f"widths fixed, cut; MACs at {100 * share:.1f} %" in repr(pruned)
    assert "\n" not in repr(pruned) and "Group first: 16 channels" in repr(
        pruned.groups
    )


def test_the_summary_tells_costs_and_what_each_group_keeps(fitted, capsys):
    _, pruned = fitted
    lines = []
    pruned.summary(print_fn=lines.append)
    text = "\n".join(lines)
    macs = next(line for line in text.splitlines() if line.startswith("MACs"))
    assert macs.split()[1] == "448" and macs.endswith("50.0 %")
    for name, (kept, total) in pruned.kept_channels().items():
        assert any(
            line.split()[:2] == [name, f"{kept}/{total}"] for line in text.splitlines()
        )
    pruned.summary(expand_nested=True)  # with that of the network
    assert f"Total params: {pruned.network.count_params()}" in capsys.readouterr().out


def test_while_a_step_is_traced_a_pruned_model_has_a_repr():
    pruned = small.prune(small.network())
    pruned.search = None
    assert repr(pruned).startswith("<PrunedModel")


def test_a_result_shows_figures_groups_and_what_was_skipped(result):
    assert result.pruned == ["first"]
    assert dict(result.skipped)["second"] == "excluded (second)"
    assert f"MACs 448 to {result.compact['macs']}" in repr(result)
    assert "\n" not in repr(result)
    text = str(result)
    assert "compact / dense" in text and "first" in text and "accuracy" in text
    assert "skipped: second (excluded (second))" in text
    assert tf_lossprune.CompressionResult(**result.to_dict()) == result


def test_a_result_writes_its_page(result, tmp_path):
    path = result.write_html(tmp_path / "pages" / "page.html", method="uniform")
    page = (tmp_path / "pages" / "page.html").read_text()
    assert path == str(tmp_path / "pages" / "page.html")
    assert "<h1>small</h1>" in page and "excluded (second)" in page


def test_an_inspection_lists_what_is_pruned_and_what_is_skipped_and_why():
    found = tf_lossprune.inspect_model(small.network(), exclude="second")
    assert found.pruned == ["first"]
    assert found.skipped == [
        ("second", "excluded (second)"),
        ("head", "model output (head)"),
    ]
    assert "1 groups, 2 layers skipped" in repr(found) and "\n" not in repr(found)


def test_notebooks_show_tables_with_names_escaped(fitted, result):
    _, pruned = fitted
    inspection = tf_lossprune.inspect_model(small.network())
    for shown in (pruned, result, inspection, pruned.groups[0]):
        found = shown._repr_html_()
        assert "<table>" in found and "first" in found
        assert found.count("<tr>") == found.count("</tr>") > 1
    result.name = "<b>&"
    assert html.escape("<b>&") in result._repr_html_()
