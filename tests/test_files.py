"""What is written for later survives a kill and a power cut."""

import os
import pathlib
import stat
import tempfile
from unittest import mock

import keras
import numpy as np
from absl.testing import parameterized

import tf_lossprune
from tf_lossprune.backup import Backup
from tf_lossprune.files import replaced


class FilesTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.calls = []
        sync, replace = os.fsync, os.replace

        def logged_sync(descriptor):
            sync(descriptor)
            is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
            self.calls.append("sync folder" if is_folder else "sync file")

        def logged_replace(source, target):
            replace(source, target)
            self.calls.append(f"rename to {pathlib.Path(target).name}")

        self.enterContext(mock.patch("os.fsync", logged_sync))
        self.enterContext(mock.patch("os.replace", logged_replace))

    def assertWritten(self, *names):
        wanted = [["sync file", f"rename to {n}", "sync folder"] for n in names]
        self.assertEqual(self.calls, sum(wanted, []))

    def test_a_file_is_on_the_disk_before_it_takes_its_name(self):
        path = self.folder / "state.json"
        path.write_text("old")
        with replaced(path) as part:
            part.write_text("new")
            self.assertEqual(path.read_text(), "old")
        self.assertEqual(path.read_text(), "new")
        self.assertWritten("state.json")
        self.assertEqual([p.name for p in self.folder.iterdir()], ["state.json"])

    def test_a_write_that_fails_leaves_the_old_file(self):
        path = self.folder / "state.json"
        path.write_text("old")
        with self.assertRaisesRegex(OSError, "disk full"), replaced(path) as part:
            part.write_text("ne")
            raise OSError("disk full")
        self.assertEqual(path.read_text(), "old")

    def test_safe_backup_syncs_before_it_renames(self):
        safe = tf_lossprune.callbacks.SafeBackupAndRestore(
            self.folder / "safe", delete_checkpoint=False
        )
        _train(_network(), callbacks=[safe])
        self.assertWritten("epoch_1.weights.h5", "state.json")

    def test_backup_of_compress_syncs_before_it_renames(self):
        backup = Backup(self.folder / "state", keep=True)
        backup.open({"seed": 0})
        model = _network()
        with backup.part("search", model) as part:
            _train(model, callbacks=[part])
            part.finish(1)
        self.assertWritten("search-1.weights.h5", "state.json")


def _network():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    return model


def _train(model, **kwargs):
    model.fit(np.ones((4, 3)), np.ones((4, 1)), verbose=0, **kwargs)
