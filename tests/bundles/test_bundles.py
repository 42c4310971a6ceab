"""What MONAI demands of every bundle."""

from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser, ConfigWorkflow, verify_metadata, verify_net_in_out
from small_cases import write_eyes

from pipeline.datasets.phantoms.ct import write_ct_phantoms

BUNDLES = Path(__file__).parents[2] / "bundles"
FUNDUS, PANCREAS = "fundus_disc_cup_segmentation", "pancreas_ct_segmentation"
SCHEMA = "meta_schema_20240725.json"
SMALL = {
    FUNDUS: {"roi_size": [64, 64]},
    PANCREAS: {"roi_size": [32, 32, 32], "spacing": [4, 4, 4], "channels": [4, 8, 8, 8, 8]},
}


@pytest.fixture(scope="module")
def datasets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    fundus = write_eyes(folder / "fundus")
    ct = write_ct_phantoms(folder / "ct", count=10, size=(48, 48, 20))
    return {FUNDUS: fundus.parent, PANCREAS: ct.parent}


@pytest.mark.parametrize("bundle", [FUNDUS, PANCREAS])
@pytest.mark.parametrize("where", ["bundle", "root"])
def test_properties_and_network_are_what_monai_demands(
    bundle, where, datasets, tmp_path, monkeypatch
):
    monkeypatch.chdir(BUNDLES / bundle if where == "bundle" else "/")
    configs = BUNDLES / bundle / "configs"
    for name, kind, folder in (
        ("train.json", "train", datasets[bundle]),
        ("inference.json", "infer", datasets[bundle] / "images"),
    ):
        workflow = ConfigWorkflow(
            str(configs / name),
            workflow_type=kind,
            logging_file=False,
            init_id="none",
            dataset_dir=str(folder),
            output_dir=str(tmp_path),
            **SMALL[bundle],
        )
        workflow.initialize()
        assert workflow.check_properties() == []
        verify_net_in_out(
            net_id="network_def",
            meta_file=str(configs / "metadata.json"),
            config_file=str(configs / name),
            device="cpu",
            channels=[4, 8, 8, 8, 8],
        )


@pytest.mark.parametrize("bundle", [FUNDUS, PANCREAS])
def test_metadata_follows_the_official_schema(bundle, tmp_path):
    """From beside the repository or from the address in the metadata, where that is reachable."""
    local = Path(__file__).parents[3] / "shared" / "docs" / SCHEMA
    try:
        verify_metadata(
            meta_file=str(BUNDLES / bundle / "configs" / "metadata.json"),
            filepath=str(local if local.exists() else tmp_path / SCHEMA),
            hash_val="06954cad2cc5d3784e72077ac76f0fc8",
            hash_type="md5",
        )
    except OSError as error:
        pytest.skip(f"the schema cannot be fetched: {error}")


@pytest.mark.parametrize(
    ("bundle", "overlays", "parameters"),
    [
        (FUNDUS, [], 2_093_589),
        (FUNDUS, ["networks/unet.json"], 1_964_114),
        (FUNDUS, ["networks/unet_plus_plus.json"], 2_283_026),
        (FUNDUS, ["networks/monai_attention_unet.json"], 1_987_722),
        (FUNDUS, ["article.json"], 33_451_077),
        (FUNDUS, ["article.json", "networks/unet.json"], 31_384_898),
        (FUNDUS, ["article.json", "networks/unet_plus_plus.json"], 36_451_394),
        (PANCREAS, [], 6_101_228),
        (PANCREAS, ["tumour.json"], 6_101_485),
        (PANCREAS, ["networks/unet.json"], 5_885_737),
        (PANCREAS, ["networks/unet_plus_plus.json"], 6_598_657),
        (PANCREAS, ["networks/monai_attention_unet.json"], 5_909_113),
        (PANCREAS, ["article.json"], 6_470_127),
    ],
)
def test_networks_of_the_overlays(bundle, overlays, parameters):
    configs = BUNDLES / bundle / "configs"
    parser = ConfigParser()
    parser.read_config([str(configs / name) for name in ("train.json", *overlays)])
    network = parser.get_parsed_content("network_def")
    assert sum(each.numel() for each in network.parameters()) == parameters
    network.eval()
    image = torch.rand(1, 3, 64, 64) if bundle == FUNDUS else torch.rand(1, 1, 32, 32, 32)
    regions = len(parser.get_parsed_content("regions"))
    assert network(image).shape == (1, regions, *image.shape[2:])


@pytest.mark.parametrize("bundle", [FUNDUS, PANCREAS])
@pytest.mark.parametrize("first", ["train.json", "evaluate.json"])
def test_each_process_takes_its_own_gpu_before_it_meets_the_others(bundle, first, monkeypatch):
    """NCCL sends from the current device: with the first GPU for all, nothing arrives."""
    calls = []
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: calls.append(str(device)))
    monkeypatch.setattr(torch.distributed, "init_process_group", calls.append)
    configs = BUNDLES / bundle / "configs"
    parser = ConfigParser()
    names = dict.fromkeys(("train.json", first, "multi_gpu.json"))
    parser.read_config([str(configs / name) for name in names])
    parser.parse()
    for place in (1, 2):
        parser.get_parsed_content(f"initialize::{place}")
    assert calls == ["cuda:1", "nccl"]


def test_a_case_without_the_classes_that_patches_are_centred_on_has_patches():
    config = ConfigParser()
    config.read_config(str(BUNDLES / PANCREAS / "configs/train.json"))
    config.update({"class_ratios": [0, 1, 1], "patch_size": [4, 4, 4], "margin": 0})
    case = {name: torch.zeros(1, 8, 8, 8) for name in ("image", "label")}
    centres = config.get_parsed_content("patch_centres")(case)
    patches = config.get_parsed_content("patches")(centres)
    assert {patch["image"].shape for patch in patches} == {(1, 4, 4, 4)}
