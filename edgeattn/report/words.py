"""The terms of the page, each explained once, in the section where it comes first."""

from __future__ import annotations

WORDS = {
    "dense": "the teacher with its usual attention, in the fastest form and runtime that was found for this device.",
    "efficient": "the student: the same model with other attention, trained to do what the teacher does.",
    "p50": "the median: half of the inferences take no longer.",
    "p90": "nine of ten inferences take no longer.",
    "p99": "99 of 100 inferences take no longer.",
    "outliers": "inferences far slower than the rest of their process; they count in every figure, none is removed.",
    "x faster": "the time of the reference divided by that of the other; 2 x is half the time, below 1 x is slower.",
    "interval": "the range in brackets. The true ratio lies in it with the confidence that is named. Where it includes "
    "1, no difference was measured. It is the exact Wilcoxon signed-rank interval of the Hodges-Lehmann estimate.",
    "pair": "one fresh process for each engine, timed in turns, so that both see the same state of the machine.",
    "pays": "from that length on the efficient model is faster; about means that it was read between measured lengths.",
    "cold start": "loading the engine and its first inference, in a fresh process.",
    "cosine": "how alike two outputs are: 1 for the same direction, 0 for nothing in common.",
    "candidate": "a form of the model, quantized by one method, in one runtime. All are timed here; the best ships.",
    "floor": "the least value of the recipe's metric with which a model may ship.",
    "int8, fp16, fp32": "the precision of weights and products: 8-bit integers, 16-bit or 32-bit floating point.",
    "roofline": "the shortest time in which the device could do this work, by its peak rates of arithmetic and memory.",
    "peak memory": "the most memory of a process that loads and runs the engine, less the same process without it.",
    "arena": "what the runtime keeps between inferences for intermediate results, beside the weights.",
    "gross, net": "gross energy counts all that was drawn; net leaves out what the idle machine draws anyway.",
    "scope": "what the sensor covers. Energies of different scopes are never compared.",
    "loss": "how far the student is from the teacher during training; lower is better. Phases have different scales.",
    "error alone": "1 - cosine of the model's output when only this layer is quantized, on samples it was not tuned "
    "on. Where all together fall below the recipe's least cosine, the worst layers stay in float.",
    "parser": "the part of TensorRT that reads a graph. A device's release decides what it takes.",
    "pre-flight": "a trial build by TensorRT for RTX where the bundle was made, without the device's GPU.",
    "SM": "the generation of an NVIDIA GPU, such as 8.7 for Orin.",
    "digest": "a fingerprint of a file's content: one changed byte gives another digest.",
}
