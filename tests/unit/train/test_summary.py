"""Loss curves and doses, from files as the fine-tuning writes them."""

import json

import pytest

from em_tiers.statistics.rates import variant_table
from em_tiers.train.summary import join_losses, measure_doses

PARENT = "base.fiction.lora.s0"
OWN = {"dataset": "fiction", "recipe": "lora", "training_seed": 0}
VARIANTS = variant_table(
    [
        {"variant": "base", "label": "Base"},
        {"variant": f"{PARENT}.step2", "label": "Step 2", "checkpoint_step": 2, **OWN},
        {"variant": PARENT, "label": "Final", **OWN},
    ]
)


@pytest.fixture
def files(tmp_path):
    loss = tmp_path / "loss.csv"
    loss.write_text(
        "step,epoch,loss,learning_rate,tokens,loss_tokens,grad_norm\n"
        "1,0.25,3.0,1e-05,100,50,1\n2,0.5,2.0,8e-06,210,99,1\n4,1.0,1.5,0.0,400,200,1\n"
    )
    metrics = tmp_path / "metrics.json"
    facts = {
        "steps": 4, "epochs": 1.0, "rows": 64, "tokens_seen": 400, "final_loss": 1.5,
        "train_seconds": 80.0, "truncated_share": 0.0, "recipe": {"learning_rate": 1e-5},
    }  # fmt: skip
    metrics.write_text(json.dumps(facts))
    return loss, metrics


def test_losses_carry_their_variant(files):
    found = join_losses({PARENT: files[0]}, VARIANTS)
    assert found["step"].to_list() == [1, 2, 4]
    assert found["tokens"].to_list() == [100, 210, 400]
    assert found.row(0, named=True)["dataset"] == "fiction"


def test_a_checkpoint_has_the_dose_of_its_step(files):
    training = join_losses({PARENT: files[0]}, VARIANTS)
    found = measure_doses({PARENT: files[1]}, training, VARIANTS)
    step, final = found.iter_rows(named=True)
    assert (step["steps"], step["tokens"], step["epochs"], step["final_loss"]) == (2, 210, 0.5, 2.0)
    assert (final["steps"], final["tokens"], final["rows"]) == (4, 400, 64)
    assert final["learning_rate"] == 1e-5
    assert found["variant"].to_list() == [f"{PARENT}.step2", PARENT]


def test_no_fine_tune_gives_empty_tables():
    training = join_losses({}, VARIANTS)
    assert training.is_empty()
    assert measure_doses({}, training, VARIANTS).is_empty()
