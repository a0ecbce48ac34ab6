"""Placements in the order in which they are shown, best first, as many as are asked for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np

from solver.arrays import Ints
from solver.rules.masks import Masks
from solver.scoring.parts import POINTS
from solver.scoring.scores import Scores

type Rooms = Literal["best", "all"]
"""``best``: of each provider and start the room that ranks first; ``all``: every room."""


def in_order(scores: Scores, start: Ints, provider: Ints, room: Ints) -> Ints:
    """Return placements as rows (points, start, provider, room), best first; positions, not ids."""
    points = scores.points(scores.at_provider[provider, start], scores.surplus[room])
    order = np.lexsort((room, provider, start, -points))
    return np.column_stack([points, start, provider, room])[order]


class Ranking:
    """Ranks what the masks pass.

    The order is score, then start, provider and room. A provider and start with its best room
    is a *pair*; as a placement never ranks before its pair's best, the first k placements come
    from the first k pairs and no triple of provider, room and start is built for the others.
    """

    def __init__(self, masks: Masks, scores: Scores) -> None:
        self._scores = scores
        self._classes = np.unique(scores.surplus)
        self._rooms = masks.room_free
        self._first_of_class = self._first_rooms()
        least = np.array(
            [
                int(self._classes[column].min()) if column.any() else 0
                for column in (self._first_of_class < len(scores.surplus)).T
            ],
            np.int64,
        )
        pairs = masks.provider_free & self._rooms.any(axis=0)[None, :]
        start, provider = np.nonzero(pairs.T)  # by start, then provider
        points = scores.points(scores.at_provider[provider, start], least[start])
        self._pairs = np.stack([points, start, provider], axis=1)
        self._key = (POINTS - points) * len(points) + np.arange(len(points))

    def growing(self, limit: int, rooms: Rooms) -> Iterator[Ints]:
        """Yield longer and longer heads of the ranking, as rows (points, start, provider, room).

        The first head has `limit` rows, if there are as many; the last one has them all.
        """
        want = limit
        while True:
            head, is_all = self._best_rooms(want) if rooms == "best" else self._all_rooms(want)
            yield head
            if is_all:
                return
            want *= 2

    def _first_pairs(self, count: int) -> Ints:
        if count >= len(self._key):
            order = np.argsort(self._key)
        else:
            order = np.argpartition(self._key, count)[:count]
            order = order[np.argsort(self._key[order])]
        return self._pairs[order]

    def _best_rooms(self, count: int) -> tuple[Ints, bool]:
        pairs = self._first_pairs(count)
        points, start, provider = pairs.T
        # Rooms of different surplus can round to the same score; then the smaller id is first.
        ties = (
            self._scores.points(
                self._scores.at_provider[provider, start][:, None], self._classes[None, :]
            )
            == points[:, None]
        )
        first = np.where(ties, self._first_of_class[:, start].T, len(self._scores.surplus))
        return np.column_stack([pairs, first.min(axis=1)]), count >= len(self._key)

    def _all_rooms(self, count: int) -> tuple[Ints, bool]:
        pair_count = min(count, 64)
        while True:
            pairs = self._first_pairs(pair_count)
            pair, room = np.nonzero(self._rooms[:, pairs[:, 1]].T)
            every = in_order(self._scores, pairs[pair, 1], pairs[pair, 2], room)
            rows = every[:count]
            if pair_count >= len(self._key):
                return rows, len(every) <= count
            if len(rows) == count and self._ranks_before_rest(rows[-1], pair_count):
                return rows, False
            pair_count *= 2

    def _ranks_before_rest(self, row: Ints, pair_count: int) -> bool:
        """Whether `row` ranks before every placement of the pairs after the first ones."""
        following = self._first_pairs(pair_count + 1)[-1]
        return (-row[0], row[1], row[2]) < (-following[0], following[1], following[2])

    def _first_rooms(self) -> Ints:
        """[classes, S] the first free room of each surplus at each start, or past the last."""
        count = len(self._scores.surplus)
        first = np.full((len(self._classes), self._rooms.shape[1]), count, np.int64)
        for position, surplus in enumerate(self._classes):
            rooms = np.flatnonzero(self._scores.surplus == surplus)
            free = self._rooms[rooms]
            if len(rooms):
                first[position] = np.where(free.any(axis=0), rooms[free.argmax(axis=0)], count)
        return first
