"""How each architecture is asked: a tiny random network of every family, with prompts of several lengths.

    python benchmarks/architectures.py [--out FILE]

Prints how many are resumed, hooked, asked one length at a time and refused, with the largest difference from what the library
answers to each prompt alone; writes the table as JSON.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from das.errors import DasError
from das.interchange.engine import HookEngine
from das.interchange.selftest import make_engine
from das.network.closeness import apart
from das.network.lm import LM
from das.task.encoded import Encoded
from das.text import aligned

LENGTHS = (13, 11, 10, 9, 7)
IDS = {"vocab_size": 60, "pad_token_id": 1, "bos_token_id": 2, "eos_token_id": 3}
SIZES = IDS | {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 64}
WIDE = SIZES | {"intermediate_size": 48}
GROUPED = WIDE | {"num_key_value_heads": 2, "head_dim": 8}
GPT = IDS | {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
EXPERTS = {"num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
SPLIT = IDS | {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "max_position_embeddings": 64,
    "decoder_start_token_id": 2,
}
T5 = IDS | {"d_model": 32, "d_ff": 48, "d_kv": 8, "num_layers": 2, "num_heads": 4, "decoder_start_token_id": 1}
STATES = IDS | {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 8}
LAYOUT = WIDE | {"type_vocab_size": 2}
TEXT = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
VISION = TEXT | {"image_size": 28, "patch_size": 14}
WINDOWS = {"sliding_window": 4, "layer_types": ["sliding_attention", "full_attention"]}

FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    # decoders
    "llama": ("LlamaForCausalLM", GROUPED),
    "mistral": ("MistralForCausalLM", GROUPED | {"sliding_window": 4}),
    "mixtral": ("MixtralForCausalLM", GROUPED | EXPERTS),
    "qwen2": ("Qwen2ForCausalLM", GROUPED),
    "qwen2-moe": ("Qwen2MoeForCausalLM", GROUPED | EXPERTS | {"shared_expert_intermediate_size": 24}),
    "qwen3": ("Qwen3ForCausalLM", GROUPED),
    "qwen3-moe": ("Qwen3MoeForCausalLM", GROUPED | EXPERTS),
    "gemma": ("GemmaForCausalLM", GROUPED),
    "gemma2": ("Gemma2ForCausalLM", GROUPED | WINDOWS),
    "gemma3": ("Gemma3ForCausalLM", GROUPED | WINDOWS),
    "phi": ("PhiForCausalLM", WIDE),
    "phi3": ("Phi3ForCausalLM", WIDE),
    "phimoe": ("PhimoeForCausalLM", GROUPED | EXPERTS),
    "olmo": ("OlmoForCausalLM", WIDE),
    "olmo2": ("Olmo2ForCausalLM", WIDE),
    "olmoe": ("OlmoeForCausalLM", WIDE | EXPERTS),
    "granite": ("GraniteForCausalLM", WIDE),
    "granite-moe": ("GraniteMoeForCausalLM", WIDE | EXPERTS),
    "cohere": ("CohereForCausalLM", WIDE),
    "cohere2": ("Cohere2ForCausalLM", GROUPED | WINDOWS),
    "stablelm": ("StableLmForCausalLM", WIDE | {"num_key_value_heads": 4}),
    "starcoder2": ("Starcoder2ForCausalLM", WIDE | {"num_key_value_heads": 2}),
    "persimmon": ("PersimmonForCausalLM", WIDE),
    "nemotron": ("NemotronForCausalLM", GROUPED),
    "glm": ("GlmForCausalLM", GROUPED),
    "glm4": ("Glm4ForCausalLM", GROUPED),
    "helium": ("HeliumForCausalLM", GROUPED),
    "smollm3": ("SmolLM3ForCausalLM", GROUPED),
    "arcee": ("ArceeForCausalLM", GROUPED),
    "ernie4.5": ("Ernie4_5ForCausalLM", GROUPED),
    "exaone4": ("Exaone4ForCausalLM", GROUPED | WINDOWS),
    "seed-oss": ("SeedOssForCausalLM", GROUPED),
    "gpt-oss": ("GptOssForCausalLM", GROUPED | EXPERTS | WINDOWS),
    "bloom": ("BloomForCausalLM", IDS | {"hidden_size": 32, "n_layer": 2, "n_head": 4}),
    "falcon": ("FalconForCausalLM", SIZES),
    "falcon, alibi": ("FalconForCausalLM", SIZES | {"alibi": True}),
    "mpt": ("MptForCausalLM", IDS | {"d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": 64}),
    "gpt2": ("GPT2LMHeadModel", GPT),
    "gpt-neo": (
        "GPTNeoForCausalLM",
        IDS
        | {
            "hidden_size": 32,
            "num_layers": 2,
            "num_heads": 4,
            "attention_types": [[["global", "local"], 1]],
            "window_size": 4,
            "max_position_embeddings": 64,
        },
    ),
    "gpt-neox": ("GPTNeoXForCausalLM", WIDE),
    "gpt-neox-japanese": ("GPTNeoXJapaneseForCausalLM", SIZES | {"intermediate_multiple_size": 2}),
    "gptj": ("GPTJForCausalLM", GPT | {"rotary_dim": 4}),
    "codegen": ("CodeGenForCausalLM", GPT | {"rotary_dim": 4}),
    "gpt-bigcode": ("GPTBigCodeForCausalLM", GPT),
    "openai-gpt": ("OpenAIGPTLMHeadModel", GPT),
    "opt": ("OPTForCausalLM", SIZES | {"ffn_dim": 48, "word_embed_proj_dim": 32}),
    "biogpt": ("BioGptForCausalLM", WIDE),
    "xglm": ("XGLMForCausalLM", IDS | {"d_model": 32, "ffn_dim": 48, "num_layers": 2, "attention_heads": 4}),
    "ctrl": ("CTRLLMHeadModel", IDS | {"n_embd": 32, "n_layer": 2, "n_head": 4, "dff": 48, "n_positions": 64}),
    "xlnet": ("XLNetLMHeadModel", IDS | {"d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 48}),
    # state spaces and recurrence
    "mamba": ("MambaForCausalLM", STATES),
    "mamba2": ("Mamba2ForCausalLM", STATES | {"num_heads": 8, "head_dim": 8, "n_groups": 2, "chunk_size": 4}),
    "falcon-mamba": ("FalconMambaForCausalLM", STATES),
    "rwkv": ("RwkvForCausalLM", IDS | {"hidden_size": 32, "num_hidden_layers": 2, "attention_hidden_size": 32}),
    "recurrent-gemma": ("RecurrentGemmaForCausalLM", GROUPED | {"lru_width": 32, "block_types": ["recurrent", "attention"]}),
    "lfm2": ("Lfm2ForCausalLM", GROUPED | {"layer_types": ["conv", "full_attention"]}),
    # encoders' decoders
    "bert-causal": ("BertLMHeadModel", WIDE | {"is_decoder": True}),
    "roberta-causal": ("RobertaForCausalLM", WIDE | {"is_decoder": True}),
    "bart-causal": ("BartForCausalLM", SPLIT),
    "pegasus-causal": ("PegasusForCausalLM", SPLIT),
    # encoders
    "bert": ("BertForMaskedLM", WIDE),
    "roberta": ("RobertaForMaskedLM", WIDE),
    "xlm-roberta": ("XLMRobertaForMaskedLM", WIDE),
    "xlm-roberta-xl": ("XLMRobertaXLForMaskedLM", WIDE),
    "camembert": ("CamembertForMaskedLM", WIDE),
    "roberta-prelayernorm": ("RobertaPreLayerNormForMaskedLM", WIDE),
    "data2vec": ("Data2VecTextForMaskedLM", WIDE),
    "xmod": ("XmodForMaskedLM", WIDE | {"languages": ["en_XX"], "default_language": "en_XX"}),
    "electra": ("ElectraForMaskedLM", WIDE | {"embedding_size": 32}),
    "distilbert": ("DistilBertForMaskedLM", IDS | {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48}),
    "albert": ("AlbertForMaskedLM", WIDE | {"embedding_size": 16}),
    "mpnet": ("MPNetForMaskedLM", WIDE),
    "deberta": ("DebertaForMaskedLM", WIDE | {"relative_attention": True, "pos_att_type": ["c2p", "p2c"]}),
    "deberta-v2": ("DebertaV2ForMaskedLM", WIDE | {"relative_attention": True, "pos_att_type": ["c2p", "p2c"]}),
    "modernbert": ("ModernBertForMaskedLM", WIDE | {"local_attention": 8, "cls_token_id": 2, "sep_token_id": 3}),
    "roformer": ("RoFormerForMaskedLM", WIDE | {"embedding_size": 32}),
    "esm": ("EsmForMaskedLM", WIDE | {"mask_token_id": 4, "token_dropout": False, "position_embedding_type": "absolute"}),
    "longformer": ("LongformerForMaskedLM", WIDE | {"attention_window": 8}),
    "nystromformer": ("NystromformerForMaskedLM", WIDE | {"num_landmarks": 4, "segment_means_seq_len": 64}),
    "fnet": ("FNetForMaskedLM", WIDE),
    "convbert": ("ConvBertForMaskedLM", WIDE | {"embedding_size": 32}),
    "megatron-bert": ("MegatronBertForMaskedLM", WIDE),
    "mobilebert": (
        "MobileBertForMaskedLM",
        WIDE | {"embedding_size": 16, "intra_bottleneck_size": 16, "true_hidden_size": 16},
    ),
    "xlm": ("XLMWithLMHeadModel", IDS | {"emb_dim": 32, "n_layers": 2, "n_heads": 4}),
    "flaubert": ("FlaubertWithLMHeadModel", IDS | {"emb_dim": 32, "n_layers": 2, "n_heads": 4}),
    # encoder–decoders
    "t5": ("T5ForConditionalGeneration", T5),
    "mt5": ("MT5ForConditionalGeneration", T5),
    "umt5": ("UMT5ForConditionalGeneration", T5),
    "bart": ("BartForConditionalGeneration", SPLIT),
    "mbart": ("MBartForConditionalGeneration", SPLIT),
    "pegasus": ("PegasusForConditionalGeneration", SPLIT),
    "marian": ("MarianMTModel", SPLIT),
    "m2m100": ("M2M100ForConditionalGeneration", SPLIT),
    "blenderbot": ("BlenderbotForConditionalGeneration", SPLIT),
    "led": ("LEDForConditionalGeneration", SPLIT | {"attention_window": 8, "max_encoder_position_embeddings": 64}),
    # with eyes
    "gemma3, with vision": (
        "Gemma3ForConditionalGeneration",
        {
            "text_config": GROUPED,
            "vision_config": VISION,
            "mm_tokens_per_image": 1,
            "image_token_index": 59,
            "boi_token_index": 57,
            "eoi_token_index": 58,
        },
    ),
    "llava": (
        "LlavaForConditionalGeneration",
        {
            "text_config": {"model_type": "llama", **GROUPED},
            "vision_config": {"model_type": "clip_vision_model", "projection_dim": 32, **VISION},
            "image_token_index": 59,
        },
    ),
    "qwen2-vl": (
        "Qwen2VLForConditionalGeneration",
        {
            "text_config": WIDE
            | {
                "num_key_value_heads": 2,
                "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]},
            },
            "vision_config": {"depth": 2, "embed_dim": 32, "num_heads": 4, "hidden_size": 32, "mlp_ratio": 2, "patch_size": 14},
            "image_token_id": 59,
            "video_token_id": 58,
        },
    ),
}
"""Name → class of transformers and the options of its configuration: two layers of width 32, 60 tokens."""


def network(name: str) -> torch.nn.Module:
    """A network of the family all of whose parameters are random: no norm is the identity, no attention is flat."""
    kind, options = FAMILIES[name]
    loaded: Any = getattr(transformers, kind)
    torch.manual_seed(0)
    model: torch.nn.Module = loaded(loaded.config_class(**options)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    return model


def prompts(seed: int = 0) -> Encoded:
    """Prompts of unequal lengths, without tokens that mean something."""
    width, lengths = max(LENGTHS), np.array(LENGTHS)
    ids = np.random.default_rng(seed).integers(5, 55, (len(lengths), width))
    ids[np.arange(width) < (width - lengths)[:, None]] = 1
    return Encoded(ids, lengths)


def row(name: str) -> dict[str, Any]:
    """How a family is asked: its blocks, its engine, the way in which prompts of several lengths are put to it, by how much its
    answers differ from the library's; or why it is refused."""
    lm, asked = LM(network(name), None), prompts()
    try:
        engine = make_engine(lm, None, ["block_output"], max(LENGTHS), asked)
    except DasError as error:
        return {"family": name, "engine": "refused", "way": "", "error": None, "why": str(error)}
    own = torch.stack([_alone(lm, ids[-n:]) for ids, n in zip(asked.ids, asked.lengths, strict=True)])
    kind, way = "hooked" if isinstance(engine, HookEngine) else "resumed", lm.asking.way
    error = apart(engine.capture(asked, []).logits, own)
    return {"family": name, "engine": kind, "way": str(way), "error": error, "why": getattr(engine, "why", "")}


@torch.no_grad()
def _alone(lm: LM, ids: np.ndarray[Any, Any]) -> torch.Tensor:
    """What the library answers to one prompt, given as token ids and nothing else but what an answer begins with."""
    model: Any = lm.model
    starts = {"decoder_input_ids": torch.tensor([[model.config.decoder_start_token_id]])} if _decodes(model) else {}
    answer: torch.Tensor = model(input_ids=torch.from_numpy(ids)[None], **starts).logits[0, -1]
    return answer


def _decodes(model: Any) -> bool:
    return bool(model.config.is_encoder_decoder)


def main() -> None:
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", default="architectures.json")
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    rows = [row(name) for name in FAMILIES]
    cells = [[r["family"], r["engine"], "" if r["error"] is None else f"{r['error']:.0e}", r["way"], r["why"]] for r in rows]
    print(aligned([["family", "engine", "error", "way", "why"], *cells]))
    counts = Counter(r["engine"] for r in rows) | Counter(r["way"].split(",")[0] for r in rows if r["way"])
    print(", ".join(f"{kind} {count}" for kind, count in counts.items()), f"of {len(rows)}")
    Path(parser.parse_args().out).write_text(json.dumps({"counts": counts, "families": rows}, indent=1))


if __name__ == "__main__":
    main()
