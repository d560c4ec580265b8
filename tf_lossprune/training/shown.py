"""How a pruned model shows itself: in a line, in a notebook, as a summary."""

from collections.abc import Callable
from typing import Any

import numpy as np
from keras import ops

from tf_lossprune.resources import plain
from tf_lossprune.tables.figures import budget_text, text_of, title_of
from tf_lossprune.tables.html import html_block, html_table
from tf_lossprune.tables.text import aligned, ratio_rows

_PHASES = {"warmup": "warm-up", "search": "search", "fixed": "widths fixed"}


class Shown:
    """Mix-in for `PrunedModel`: budget, phase and cost, for people."""

    def __repr__(self) -> str:
        try:
            return f"<{type(self).__name__} {self._headline()}>"
        except Exception:  # half built, or while a step is traced
            return super().__repr__()

    def _repr_html_(self) -> str:
        return html_block(
            self._headline(),
            html_table(self._cost_rows()),
            html_table(self._group_rows(), left=(0, 3, 4)),
        )

    def summary(
        self,
        line_length: int | None = None,
        positions: list | None = None,
        print_fn: Callable[[str], Any] | None = None,
        expand_nested: bool = False,
        show_trainable: bool = False,
        layer_range: list | None = None,
    ) -> None:
        """Prints budget, phase, costs, and what each group keeps.

        Args:
            line_length, positions, show_trainable, layer_range: as in
                `keras.Model.summary`, for the network.
            print_fn: function of a text; None: `print`.
            expand_nested: bool, whether the summary of the network follows.
        """
        write = print_fn or print
        write(self._headline())
        write(aligned(self._cost_rows()))
        write(aligned(self._group_rows(), left=(0, 3, 4)))
        if expand_nested:
            self.network.summary(
                line_length,
                positions,
                print_fn,
                expand_nested=True,
                show_trainable=show_trainable,
                layer_range=layer_range,
            )

    def _headline(self) -> str:
        phase = _PHASES[self.phase] + (", cut" if self.is_compact else "")
        shares = self._current_shares()
        costs = (
            f"{title_of(name)} at {100 * share:.1f} %" for name, share in shares.items()
        )
        budget = budget_text(self.budget.limits)
        return f"{self.name}: {phase}; {', '.join(costs)}; budget: {budget}"

    def _current_shares(self) -> dict[str, float]:
        """Dict, resource -> share of the dense cost at the ratios as they are."""
        if self.phase == "fixed":
            kept = self.cost()
            return {n: kept[n] / max(c.dense, 1e-12) for n, c in self.costs.items()}
        ratios = np.array([*self.keep_ratios().values()], "float32")
        return {
            name: float(ops.convert_to_numpy(cost.fraction(ratios)))
            for name, cost in self.costs.items()
        }

    def _cost_rows(self) -> list[tuple[str, ...]]:
        rows: list[tuple[str, ...]] = [("", "dense", "now", "share", "allowed")]
        for name, share in self._current_shares().items():
            dense, allowed = self.costs[name].dense, self.shares.get(name)
            texts = (text_of(name, plain(round(v, 1))) for v in (dense, dense * share))
            limit = "-" if allowed is None else f"{100 * allowed:.1f} %"
            rows.append((title_of(name), *texts, f"{100 * share:.1f} %", limit))
        return rows

    def _group_rows(self) -> list[tuple[str, ...]]:
        ratios = self.keep_ratios()
        groups = [
            {
                "name": group.name,
                "kept": round(ratios[group.name] * group.size),
                "total": group.size,
                "ratio": ratios[group.name],
            }
            for group in self.groups
        ]
        head, *rows = ratio_rows(groups)
        layers = (", ".join([*g.producers, *g.through]) for g in self.groups)
        return [
            (*head, "layers"),
            *((*row, names) for row, names in zip(rows, layers)),
        ]
