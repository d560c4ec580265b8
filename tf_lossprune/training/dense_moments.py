"""Moments of the network before the cut, collected once for all that ask for them."""

from keras import tree

from tf_lossprune.training.moments import all_alike, collect, key_of, some_inputs

#: How many inputs are read, if nobody says.
SAMPLES = 512
#: So many entries of covariances are collected in one pass over the inputs, unless a
#: single tensor has more: 256 MiB for both halves.
ENTRIES_AT_ONCE = 2**24
#: So many are kept for whoever asks next; the rest is collected anew.
ENTRIES_KEPT = 2**25


class DenseMoments:
    """What layers read in the network before the cut, as moments of some inputs.

    The order of the channels, the comparison of widths and the repair need the same
    ones. At most 512 MiB of them are kept.

    Args:
        channel_graph: `ChannelGraph`; as long as this is used, its weights stay.
        data: iterable of batches; of a tuple, the first entry is the input. Or what
            `some_inputs` returned.
        samples: int, how many inputs are used at most.

    Attributes:
        inputs: list of batches, as `some_inputs` returns it.
        count: int, how many samples there are.
    """

    def __init__(self, channel_graph, data, samples=SAMPLES):
        self._graph = channel_graph
        self.inputs = some_inputs(data, samples)
        self.count = sum(len(tree.flatten(x)[0]) for x in self.inputs)
        self._kept = {}  # with their readers, whose ids are in the keys
        self._room = ENTRIES_KEPT

    def all_alike(self):
        """Whether samples are all the same and say nothing of how channels vary."""
        return self.count > 1 and all_alike(self.inputs)

    def of(self, readers):
        """Pairs of reader and moments, in few passes over the inputs.

        Args:
            readers: list of `Reader`s.

        Yields:
            A `Reader`, and of its slices what `collect` returns.
        """
        new = []
        for reader in readers:
            known = self._kept.get(key_of(reader))
            if known is None:
                new.append(reader)
            else:
                yield reader, known[1]
        for part in in_passes(new):
            for reader, found in zip(part, collect(self._graph, part, self.inputs)):
                self._keep(reader, found)
                yield reader, found

    def _keep(self, reader, found):
        key, size = key_of(reader), entries(reader)
        if size <= self._room and key not in self._kept:
            self._room -= size
            self._kept[key] = reader, found


def entries(reader, changes=None):
    """How many entries the covariances of what a reader reads have."""
    twice = 2 if changes is not None and reader.reads(changes) else 1
    return sum((twice * piece.columns.shape[-1]) ** 2 for piece in reader.slices)


def in_passes(jobs, readers_of=lambda reader: [reader], changes=None):
    """Parts of the jobs whose covariances are held at the same time.

    Args:
        jobs: iterable, of `Reader`s if nothing else is said.
        readers_of: function of a job that returns its `Reader`s.
        changes: `Changes` or None, as `collect` gets them.
    """
    part, held = [], 0
    for job in jobs:
        more = sum(entries(reader, changes) for reader in readers_of(job))
        if part and held + more > ENTRIES_AT_ONCE:
            yield part
            part, held = [], 0
        part.append(job)
        held += more
    if part:
        yield part
