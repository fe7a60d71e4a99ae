"""A configuration with the keys of MindOCR's `configs/rec/abinet/abinet_resnet45_en.yaml`."""

from __future__ import annotations

ADDRESS = "https://download.mindspore.cn/toolkits/mindocr/abinet/abinet_pretrain_en-821ca20b.ckpt"


def mindocr_file(
    *,
    pretrained: str = ADDRESS,
    train_root: str = "path/to/data_lmdb_release/train/",
    eval_root: str = "path/to/data_lmdb_release/",
    folder: str = "./tmp_rec",
    workers: int = 8,
) -> str:
    """The file's text, with these paths in it, and so many processes that make a training's batches."""
    return f"""
system: {{mode: 0, distribute: True, amp_level: 'O0', seed: 42, log_interval: 100, val_while_train: True,
  refine_batch_size: False, drop_overflow_update: False}}
common:
  character_dict_path: &character_dict_path
  num_classes: &num_classes 37
  max_text_len: &max_text_len 25
  infer_mode: &infer_mode False
  use_space_char: &use_space_char False
  batch_size: &batch_size 96
model:
  type: rec
  pretrained: {pretrained}
  transform: null
  backbone: {{name: abinet_backbone, pretrained: False, batchsize: *batch_size}}
  head: {{name: ABINetHead, batchsize: *batch_size}}
postprocess: {{name: ABINetLabelDecode}}
metric: {{name: RecMetric, main_indicator: acc, character_dict_path: *character_dict_path, ignore_space: True,
  print_flag: False, filter_ood: False}}
loss: {{name: ABINetLoss}}
scheduler: {{scheduler: step_decay, decay_rate: 0.1, decay_epochs: 6, warmup_epochs: 0, lr: 0.00001,
  num_epochs: 10}}
optimizer: {{opt: adam}}
train:
  clip_grad: True
  clip_norm: 20.0
  ckpt_save_dir: '{folder}'
  dataset_sink_mode: False
  pred_cast_fp32: False
  max_call_depth: 1300
  dataset:
    type: LMDBDataset
    dataset_root: {train_root}
    data_dir: ['MJ/MJ_test', 'MJ/MJ_train', 'MJ/MJ_valid', 'ST']
    sample_ratio: 1.0
    shuffle: True
    transform_pipeline:
      - ABINetTransforms:
      - ABINetRecAug:
    output_columns: ['image', 'label', 'length', 'label_for_mask']
    filter_max_len: True
    max_text_len: 25
    filter_zero_text_image: True
    check_rec_image: True
  loader: {{shuffle: True, batch_size: *batch_size, drop_remainder: True, max_rowsize: 64,
    num_workers: {workers}}}
eval:
  ckpt_load_path: '{folder}/best.ckpt'
  dataset_sink_mode: False
  pred_cast_fp32: False
  dataset:
    type: LMDBDataset
    dataset_root: {eval_root}
    data_dir: evaluation/
    sample_ratio: 1.0
    shuffle: False
    transform_pipeline:
      - ABINetEvalTransforms:
      - ABINetEval:
    output_columns: ['image', 'label', 'length']
    net_input_column_index: [0]
    label_column_index: [1, 2]
  loader: {{shuffle: False, batch_size: *batch_size, drop_remainder: True, max_rowsize: 64, num_workers: 8}}
"""
