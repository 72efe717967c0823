import torch
import yaml

from exports import leaving
from sgmim.export import export
from sgmim.export.card import for_hub, license_id, without_folders


def front(card):
    _, text, body = card.split("---\n", 2)
    return yaml.safe_load(text), body


def test_a_card_says_what_it_is_where_it_comes_from_and_whose_it_is(tmp_path):
    told = {"recipe": "sgmim_swin_base_100ep", "step": 7, "license": "CC BY-NC 4.0"}
    told |= {"started_from": "/home/me/runs/simmim/encoder.safetensors: SimMIM: 40 tensors"}
    told |= {"method": "simmim", "seen": {"nyu": ["midas"]}}
    export(leaving("vit", tmp_path, header=told), "timm", tmp_path / "timm")
    head, body = front((tmp_path / "timm" / "README.md").read_text())
    assert head["license"] == "cc-by-nc-4.0" and head["library_name"] == "timm"
    assert head["tags"] == ["sgmim", "simmim"]
    for words in (
        "vit_tiny_patch16_224", "64 x 64 pixels", "sgmim_swin_base_100ep", "(half)",
        "encoder.safetensors: SimMIM: 40 tensors", "nyu: midas", "CC BY-NC 4.0", "check.json",
    ):  # fmt: skip
        assert words in body
    assert "/home/me" not in body


def test_its_code_opens_what_it_describes(tmp_path):
    export(leaving("vit", tmp_path), "timm", tmp_path / "timm")
    card = (tmp_path / "timm" / "README.md").read_text()
    code = card.split("```python\n")[1].split("```")[0].replace("FOLDER", str(tmp_path / "timm"))
    said = {"image": torch.zeros(1, 3, 64, 64)}
    exec(code, said)
    assert said["features"].shape == (1, 17, 48)
    assert 'create_model("hf_hub:me/it"' in for_hub(card, "me/it")


def test_licenses_have_the_names_of_the_hub():
    assert license_id("Apache-2.0") == "apache-2.0" and license_id("CC BY-NC 4.0") == "cc-by-nc-4.0"
    assert license_id("") == "unknown" and license_id("ask me") == "other"


def test_folders_are_nobodys_business():
    assert without_folders("/home/me/a.pth: 3 tensors") == "a.pth: 3 tensors"
    assert without_folders("runs/a/b of C:x, 1/2") == "b of C:x, 2"
    assert without_folders("timm's pre-trained") == "timm's pre-trained"
