"""An ensemble is the mean of its members' probabilities, in every form that it travels in."""

import io

import numpy as np
import pytest
import torch

from pipeline.networks.attention_unet import AttentionUnet
from pipeline.networks.ensemble import Ensemble, join_states, mean_of_probabilities
from pipeline.networks.folding import fold_batch_norms


def network(seed, **options):
    torch.manual_seed(seed)
    return AttentionUnet(2, 3, 2, channels=[4, 8], strides=[2], **options).eval()


def ensemble(*members):
    found = Ensemble(network(9), members=len(members))
    found.load_state_dict(join_states([each.state_dict() for each in members]))
    return found.eval()


@pytest.fixture
def image():
    return torch.rand(2, 3, 21, 16, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_the_output_is_the_mean_of_probabilities_as_logits(image):
    members = [network(seed) for seed in (1, 2, 3)]
    probabilities = [1 / (1 + np.exp(-each(image).double().numpy())) for each in members]
    found = ensemble(*members)(image)
    np.testing.assert_allclose(found.sigmoid(), np.mean(probabilities, axis=0), atol=1e-6)
    torch.testing.assert_close(ensemble(members[0])(image), members[0](image), atol=1e-5, rtol=0)


def test_very_sure_members_do_not_become_infinite():
    sure = torch.tensor([200.0, -200.0, 200.0, 0.0])
    found = mean_of_probabilities([sure, torch.tensor([200.0, -200.0, -200.0, 200.0])])
    np.testing.assert_allclose(found[:3], [200, -200, 0], atol=1e-4)
    assert found[3].sigmoid() == pytest.approx(0.75)


@torch.no_grad()
def test_an_ensemble_is_scripted_and_folded_like_a_network(image):
    whole = ensemble(network(1), network(2))
    stream = io.BytesIO()
    torch.jit.save(torch.jit.freeze(torch.jit.script(whole)), stream)
    stream.seek(0)
    torch.testing.assert_close(torch.jit.load(stream)(image), whole(image), atol=1e-5, rtol=0)
    torch.testing.assert_close(fold_batch_norms(whole)(image), whole(image), atol=1e-4, rtol=0)


def test_members_take_turns_in_training(image):
    whole = ensemble(network(1), network(2)).train()
    trained = []
    for _ in range(3):
        whole.zero_grad()
        whole(image).sum().backward()
        trained.append([each.final.weight.grad is not None for each in whole.members])
    assert trained == [[True, False], [False, True], [True, False]]


def test_deep_supervision_stays_a_matter_of_training(image):
    whole = Ensemble(network(1, deep_supervision=True), members=2)
    assert isinstance(whole.train()(image), list)
    assert whole.eval()(image).shape == (2, 2, 21, 16)


def test_no_member_is_refused():
    with pytest.raises(ValueError, match="members is 0"):
        Ensemble(network(1), members=0)
