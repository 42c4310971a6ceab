import pytest
import torch
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.handlers import ValidationHandler

from pipeline.engines.checkpoints import Checkpoints
from pipeline.engines.metrics import RegionDice
from pipeline.engines.update import UpdateModel

# The best network says 1 for positive voxels: a weight above 0. Its label is that of a square.
IMAGE = torch.tensor([[[1.0, 1.0], [-1.0, -1.0]]])
LABEL = (IMAGE > 0).float()


def train(tmp_path, *, start, towards, cases=1, epochs=3):
    """Retrain one weight, from ``start`` in steps of 1 towards ``towards``; the served weight."""
    network = torch.nn.Conv2d(1, 1, 1, bias=False)
    torch.nn.init.constant_(network.weight, start)
    served = tmp_path / "served" / "model.pt"
    served.parent.mkdir()
    torch.save(network.state_dict(), served)
    validator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=[{"image": IMAGE[None], "label": LABEL[None]}] * cases,
        network=network,
        key_val_metric={"dice": RegionDice({"square": [1]})},
        decollate=False,
    )
    trainer = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=epochs,
        train_data_loader=[{"image": IMAGE[None], "label": LABEL[None]}],
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=1.0),
        loss_function=lambda pred, label: -towards * network.weight.sum() + 0 * pred.sum(),
        train_handlers=[
            ValidationHandler(interval=1, validator=validator),
            Checkpoints(output_dir=tmp_path / "run", model=network, state={}, validator=validator),
            UpdateModel(path=served, output_dir=tmp_path / "run", validator=validator),
        ],
        decollate=False,
    )
    trainer.run()
    assert [path.name for path in served.parent.iterdir()] == ["model.pt"]
    content = torch.load(served, weights_only=True)
    return content.get("model", content)["weight"].item()  # it was a state dictionary alone


@pytest.mark.parametrize(
    ("case", "weight"),
    [
        ({"start": -1.5, "towards": 1}, 0.5),  # the first that is right; later ones are no better
        ({"start": 0.5, "towards": -1}, 0.5),  # every epoch is worse
        ({"start": 0.5, "towards": 1}, 0.5),  # every epoch is as good
        ({"start": 0.5, "towards": -1, "cases": 0}, -2.5),  # nothing to validate with: the last
    ],
)
@pytest.mark.filterwarnings("ignore:.*empty.*")
def test_only_better_weights_take_the_place_of_those_that_are_served(tmp_path, case, weight):
    assert train(tmp_path, **case) == weight
