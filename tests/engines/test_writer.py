"""Files that are written while a training goes on."""

import pytest
import torch

from pipeline.engines.writer import Writer
from pipeline.errors import InputError


def test_a_file_holds_what_was_when_it_was_asked_for(tmp_path):
    writer, network = Writer(), torch.nn.BatchNorm1d(2)
    for value in (1.0, 2.0):
        with torch.no_grad():
            network.weight.fill_(value)
        writer.write({tmp_path / f"{value}.pt": network.state_dict()})
        with torch.no_grad():
            network.weight.fill_(9.0)
    writer.finish()
    for value in (1.0, 2.0):
        state = torch.load(tmp_path / f"{value}.pt", weights_only=True)
        assert state["weight"].tolist() == [value, value]
        assert state._metadata[""]["version"] == 2


def test_a_failed_write_ends_the_next_one(tmp_path):
    writer = Writer()
    (tmp_path / "file").touch()
    writer.write({tmp_path / "file" / "a.pt": {}})
    with pytest.raises(InputError, match=r"a\.pt: it cannot be written"):
        writer.write({tmp_path / "b.pt": {}})
