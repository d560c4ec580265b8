"""`lossprune inspect`: what can be pruned, and how far."""

import dataclasses

from tf_lossprune.cli.command import Result
from tf_lossprune.cli.flags import channel_options
from tf_lossprune.cli.inputs import find_model
from tf_lossprune.cli.latency import asked_budget, device_resources
from tf_lossprune.errors import InfeasibleBudgetError, UncountableError
from tf_lossprune.inspection import inspect_model


def run(values, arguments):
    """Runs the command, as `Command.run`."""
    model = find_model(arguments[0])
    budget = asked_budget(values) if values.budget else None
    names = [*values.resources, *(budget.limits if budget else ())]
    own = {resource.name: resource for resource in device_resources(values)}
    found = inspect_model(
        model,
        resources=[own.get(name, name) for name in dict.fromkeys(names)],
        **channel_options(values),
    )
    data = {
        "model": model.name,
        "cost": found.cost,
        "smallest": found.smallest,
        "groups": [
            {
                **{k: v for k, v in dataclasses.asdict(group).items() if k != "units"},
                "size": group.size,
                "share": {name: found.share[name][k] for name in found.share},
            }
            for k, group in enumerate(found.groups)
        ],
        "frozen": [{"layer": n, "reason": why} for n, why in found.frozen],
        "opaque": [dataclasses.asdict(entry) for entry in found.opaque],
        "uncounted": found.uncounted,
    }
    if budget:
        _check(budget, found)
        data["budget"] = dict(budget.limits)
    return Result(data, str(found))


def _check(budget, found):
    for name in budget.limits:
        if name in found.uncounted:
            raise UncountableError(found.uncounted[name])
    costs = {name: _Dense(value) for name, value in found.cost.items()}
    shares = budget.shares(costs)
    broken = [name for name in shares if shares[name] < found.smallest[name]]
    if broken:
        texts = [
            f"{name}: {found.smallest[name]:.2%}, asked {shares[name]:.2%}"
            for name in broken
        ]
        raise InfeasibleBudgetError(
            "This budget cannot be met; smallest reachable shares of the dense model: "
            f"{'; '.join(texts)}. Received: {budget.limits}",
            found.smallest,
        )


@dataclasses.dataclass
class _Dense:
    """A cost of which only the dense value is known."""

    dense: float
