"""The card of a model that was made smaller: what was done to which model, and that model's own card."""

from worker.compress.order import Order
from worker.distill.folder import CARD, Checkpoint


def card(order: Order, original: Checkpoint, made: Checkpoint, *, recovered: bool) -> str:
    """Return MODEL_CARD.md."""
    sizes, old = made.sizes, order.model / CARD
    after = "Nothing was trained afterwards."
    if recovered:
        rounding = ", with int8's rounding in the loop" if order.quantised else ""
        after = f"Then it learnt from the original for at most {order.minutes:g} minutes{rounding}."
    below = old.read_text(encoding="utf-8") if old.is_file() else "The original had no card.\n"
    return f"""# {order.name or order.out.resolve().name}

Made smaller by `moodstream compress` from {original.title}: {sizes.n_layers} layers, {sizes.n_heads} \
attention heads, {sizes.hidden_dim} feed-forward columns and {sizes.vocab_size:,} tokens; \
{made.parameters:,} parameters instead of {original.parameters:,}. {after}

Figures in the card below are the original's, not this model's: measure it with `moodstream evaluate`.

---

{below}"""
