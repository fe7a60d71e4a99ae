"""`lite_runner.py BUNDLE INPUTS.npz OUTPUTS.npz`: runs graphs of a bundle in MindSpore Lite and nothing else.

For the Python 3.7 environment. INPUTS holds FILE/0, FILE/1... for each graph file; OUTPUTS gets the same.
"""

import sys
from pathlib import Path
from typing import Dict

import mindspore_lite as lite
import numpy as np


def main() -> None:
    bundle, inputs_path, outputs_path = sys.argv[1:]
    context = lite.Context()
    context.target = ["cpu"]
    context.cpu.thread_num = 1
    given = np.load(inputs_path)
    outputs: Dict[str, np.ndarray] = {}
    for file in sorted({name.split("/")[0] for name in given}):
        model = lite.Model()
        model.build_from_file(str(Path(bundle) / file), lite.ModelType.MINDIR, context)
        tensors = model.get_inputs()
        for number, tensor in enumerate(tensors):
            tensor.set_data_from_numpy(given[f"{file}/{number}"])
        for number, output in enumerate(model.predict(tensors)):
            outputs[f"{file}/{number}"] = output.get_data_to_numpy().copy()
    np.savez(outputs_path, **outputs)


if __name__ == "__main__":
    main()
