import pytest

from bcsim.training.config import (
    AdversarialConfig,
    DataConfig,
    LoopConfig,
    OptimizerConfig,
    ScheduleConfig,
    ValidationConfig,
)


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        (OptimizerConfig, {"learning_rate": 0}, "learning_rate is 0; it wants above 0"),
        (OptimizerConfig, {"betas": (0.5, 1.0)}, "betas"),
        (AdversarialConfig, {"discriminator": {}, "discriminator_steps": 0}, "discriminator_steps"),
        (AdversarialConfig, {"discriminator": {}, "enhancer_rate_ratio": 0.0}, "enhancer_rate"),
        (
            AdversarialConfig,
            {"discriminator": {}, "enhancer_steps": 2, "discriminator_steps": 2},
            "discriminator_steps is 2; it wants 1 where enhancer_steps is above 1",
        ),
        (
            AdversarialConfig,
            {"discriminator": {}, "discriminator_start_step": 5, "discriminator_steps": 2},
            "discriminator_steps is 2; it wants 1 where the discriminator begins after start_step",
        ),
        (ScheduleConfig, {"warmup_steps": -1}, "warmup_steps is -1"),
        (DataConfig, {"batch_size": 0}, "batch_size is 0; it wants 1 or more"),
        (LoopConfig, {"num_steps": 0}, "num_steps is 0"),
        (LoopConfig, {"num_steps": 1, "ema_decay": 1.0}, "ema_decay is 1.0"),
        (LoopConfig, {"num_steps": 1, "log_interval_steps": 0}, "log_interval_steps is 0"),
        (ValidationConfig, {"max_item_s": 0.1}, "max_item_s is 0.1"),
    ],
)
def test_a_value_that_makes_no_sense_is_named(section, values, message):
    with pytest.raises(ValueError, match=message):
        section(**values)
