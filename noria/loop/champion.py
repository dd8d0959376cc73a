"""The champion: taken note of when somebody else moves it, and kept on all of the traffic."""

from __future__ import annotations

from typing import Final

import msgspec

from noria.loop import outcomes
from noria.loop.state import Deploy, Retire, SetWeights
from noria.loop.turn import DOWN_ALERT, Turn, name, split

GONE_ALERT: Final = "champion-gone"
"""The alert that stands while the registry names no champion though there was one."""


def doubt(turn: Turn) -> None:
    """Take a registry that has lost the champion for one that can't be seen.

    Whoever takes the alias away leaves the version; a registry that knows neither is damaged,
    begun anew or another one, and what it says of this model is worth nothing.
    """
    seen, champion = turn.observation, turn.state.champion
    if seen.registry is None or seen.registry.champion is not None or champion is None:
        return
    if any(found.version == champion for found in seen.registry.versions):
        return
    lost = f"the registry has lost {name(champion)}, the champion, and names no other"
    turn.observation = msgspec.structs.replace(
        seen, registry=None, problems={**seen.problems, "registry": lost}
    )
    turn.raise_alert(
        GONE_ALERT,
        f"{lost}; it serves on: put a backup of the registry in its place, or point the alias at "
        "a version that is there",
    )


def notice(turn: Turn) -> None:
    """Follow the registry's champion alias; while a rollout is on, the rollout does."""
    registry, state = turn.observation.registry, turn.state
    if registry is None:
        problem = turn.observation.problems.get("registry", "it was not looked at")
        turn.hold("champion", f"the registry can't be seen: {problem}")
        return
    if registry.champion is not None:
        turn.clear_alert(GONE_ALERT)
    if state.rollout is not None or registry.champion == state.champion:
        return
    before = state.champion
    if registry.champion is None:
        turn.update(champion=None)
        turn.raise_alert(
            GONE_ALERT, f"{name(before)} was the champion; the registry names none now"
        )
        return
    info = registry.info
    as_of = min(info.created, turn.now) if info is not None else turn.now
    outcomes.promote(turn, registry.champion, as_of)
    turn.change(
        "champion",
        f"{name(registry.champion)} is the champion, by somebody else's hand; "
        f"it was {name(before)}",
        version=registry.champion,
        before=before,
    )


def serve(turn: Turn) -> None:
    """Outside a rollout: the champion has all the traffic, and nothing else runs."""
    champion, traffic = turn.state.champion, turn.observation.traffic
    if turn.state.rollout is not None or champion is None:
        return
    if traffic is None:
        problem = turn.observation.problems.get("traffic", "it was not looked at")
        turn.hold("traffic", f"the traffic can't be seen: {problem}")
        return
    turn.withdraw(f"retire/{champion}")
    if not traffic.ready.get(champion):
        if turn.want(Deploy("", champion)) and champion not in traffic.ready:
            turn.change("traffic", f"{name(champion)} is not deployed; it is asked for")
        else:
            turn.hold("traffic", f"{name(champion)} is not ready yet")
        turn.tell_down(champion)
        return
    turn.clear_alert(DOWN_ALERT)
    seen = {v: w for v, w in traffic.weights.items() if w}
    wanted = {champion: 100}
    if seen != wanted:
        if turn.want(SetWeights("", wanted)):
            turn.change(
                "traffic",
                f"traffic is {split(seen)}; asked for {split(wanted)}",
                seen=seen,
                wanted=wanted,
            )
        else:
            turn.hold("traffic", f"traffic is {split(seen)}, {split(wanted)} is asked for")
        return
    turn.withdraw("weights")
    for version in sorted(traffic.ready):
        if version != champion:
            turn.withdraw(f"deploy/{version}")
            if turn.want(Retire("", version)):
                turn.change("traffic", f"{name(version)} has no traffic and is retired")
