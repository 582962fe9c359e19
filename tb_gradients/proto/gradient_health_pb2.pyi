from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PluginData(_message.Message):
    __slots__ = ("format_version",)
    FORMAT_VERSION_FIELD_NUMBER: _ClassVar[int]
    format_version: int
    def __init__(self, format_version: _Optional[int] = ...) -> None: ...

class Variable(_message.Message):
    __slots__ = ("path", "shape", "dtype", "elements", "module", "layer_class", "role", "activation", "initializer", "regularizer", "constraint", "trainable", "unit_axis", "units", "optimizer", "initial_rms", "analytically_zero", "facts", "node")
    class FactsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    PATH_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    ELEMENTS_FIELD_NUMBER: _ClassVar[int]
    MODULE_FIELD_NUMBER: _ClassVar[int]
    LAYER_CLASS_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    ACTIVATION_FIELD_NUMBER: _ClassVar[int]
    INITIALIZER_FIELD_NUMBER: _ClassVar[int]
    REGULARIZER_FIELD_NUMBER: _ClassVar[int]
    CONSTRAINT_FIELD_NUMBER: _ClassVar[int]
    TRAINABLE_FIELD_NUMBER: _ClassVar[int]
    UNIT_AXIS_FIELD_NUMBER: _ClassVar[int]
    UNITS_FIELD_NUMBER: _ClassVar[int]
    OPTIMIZER_FIELD_NUMBER: _ClassVar[int]
    INITIAL_RMS_FIELD_NUMBER: _ClassVar[int]
    ANALYTICALLY_ZERO_FIELD_NUMBER: _ClassVar[int]
    FACTS_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    path: str
    shape: _containers.RepeatedScalarFieldContainer[int]
    dtype: str
    elements: int
    module: str
    layer_class: str
    role: str
    activation: str
    initializer: str
    regularizer: str
    constraint: str
    trainable: bool
    unit_axis: int
    units: int
    optimizer: str
    initial_rms: float
    analytically_zero: bool
    facts: _containers.ScalarMap[str, str]
    node: int
    def __init__(self, path: _Optional[str] = ..., shape: _Optional[_Iterable[int]] = ..., dtype: _Optional[str] = ..., elements: _Optional[int] = ..., module: _Optional[str] = ..., layer_class: _Optional[str] = ..., role: _Optional[str] = ..., activation: _Optional[str] = ..., initializer: _Optional[str] = ..., regularizer: _Optional[str] = ..., constraint: _Optional[str] = ..., trainable: bool = ..., unit_axis: _Optional[int] = ..., units: _Optional[int] = ..., optimizer: _Optional[str] = ..., initial_rms: _Optional[float] = ..., analytically_zero: bool = ..., facts: _Optional[_Mapping[str, str]] = ..., node: _Optional[int] = ...) -> None: ...

class Node(_message.Message):
    __slots__ = ("fed_by",)
    FED_BY_FIELD_NUMBER: _ClassVar[int]
    fed_by: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, fed_by: _Optional[_Iterable[int]] = ...) -> None: ...

class RunContext(_message.Message):
    __slots__ = ("optimizer", "optimizer_config", "loss", "precision", "jit_compile", "strategy", "replicas", "steps_per_execution", "steps_per_epoch", "accumulation_steps", "versions", "facts")
    class OptimizerConfigEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class VersionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class FactsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    OPTIMIZER_FIELD_NUMBER: _ClassVar[int]
    OPTIMIZER_CONFIG_FIELD_NUMBER: _ClassVar[int]
    LOSS_FIELD_NUMBER: _ClassVar[int]
    PRECISION_FIELD_NUMBER: _ClassVar[int]
    JIT_COMPILE_FIELD_NUMBER: _ClassVar[int]
    STRATEGY_FIELD_NUMBER: _ClassVar[int]
    REPLICAS_FIELD_NUMBER: _ClassVar[int]
    STEPS_PER_EXECUTION_FIELD_NUMBER: _ClassVar[int]
    STEPS_PER_EPOCH_FIELD_NUMBER: _ClassVar[int]
    ACCUMULATION_STEPS_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    FACTS_FIELD_NUMBER: _ClassVar[int]
    optimizer: str
    optimizer_config: _containers.ScalarMap[str, str]
    loss: str
    precision: str
    jit_compile: bool
    strategy: str
    replicas: int
    steps_per_execution: int
    steps_per_epoch: int
    accumulation_steps: int
    versions: _containers.ScalarMap[str, str]
    facts: _containers.ScalarMap[str, str]
    def __init__(self, optimizer: _Optional[str] = ..., optimizer_config: _Optional[_Mapping[str, str]] = ..., loss: _Optional[str] = ..., precision: _Optional[str] = ..., jit_compile: bool = ..., strategy: _Optional[str] = ..., replicas: _Optional[int] = ..., steps_per_execution: _Optional[int] = ..., steps_per_epoch: _Optional[int] = ..., accumulation_steps: _Optional[int] = ..., versions: _Optional[_Mapping[str, str]] = ..., facts: _Optional[_Mapping[str, str]] = ...) -> None: ...

class VariableTable(_message.Message):
    __slots__ = ("format_version", "table_id", "variables", "statistics", "context", "run", "nodes")
    FORMAT_VERSION_FIELD_NUMBER: _ClassVar[int]
    TABLE_ID_FIELD_NUMBER: _ClassVar[int]
    VARIABLES_FIELD_NUMBER: _ClassVar[int]
    STATISTICS_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    format_version: int
    table_id: int
    variables: _containers.RepeatedCompositeFieldContainer[Variable]
    statistics: _containers.RepeatedScalarFieldContainer[str]
    context: _containers.RepeatedScalarFieldContainer[str]
    run: RunContext
    nodes: _containers.RepeatedCompositeFieldContainer[Node]
    def __init__(self, format_version: _Optional[int] = ..., table_id: _Optional[int] = ..., variables: _Optional[_Iterable[_Union[Variable, _Mapping]]] = ..., statistics: _Optional[_Iterable[str]] = ..., context: _Optional[_Iterable[str]] = ..., run: _Optional[_Union[RunContext, _Mapping]] = ..., nodes: _Optional[_Iterable[_Union[Node, _Mapping]]] = ...) -> None: ...

class HistogramPack(_message.Message):
    __slots__ = ("table_id", "lowest_exponent", "octaves", "counts")
    TABLE_ID_FIELD_NUMBER: _ClassVar[int]
    LOWEST_EXPONENT_FIELD_NUMBER: _ClassVar[int]
    OCTAVES_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    table_id: int
    lowest_exponent: int
    octaves: int
    counts: bytes
    def __init__(self, table_id: _Optional[int] = ..., lowest_exponent: _Optional[int] = ..., octaves: _Optional[int] = ..., counts: _Optional[bytes] = ...) -> None: ...

class Evidence(_message.Message):
    __slots__ = ("name", "value", "threshold")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: float
    threshold: float
    def __init__(self, name: _Optional[str] = ..., value: _Optional[float] = ..., threshold: _Optional[float] = ...) -> None: ...

class Cause(_message.Message):
    __slots__ = ("id", "confidence", "summary")
    ID_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    id: str
    confidence: float
    summary: str
    def __init__(self, id: _Optional[str] = ..., confidence: _Optional[float] = ..., summary: _Optional[str] = ...) -> None: ...

class Origin(_message.Message):
    __slots__ = ("operation", "layer", "phase", "file", "line", "code", "inputs", "outputs", "share", "exact", "only_xla", "summary", "path")
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    LAYER_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    FILE_FIELD_NUMBER: _ClassVar[int]
    LINE_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    SHARE_FIELD_NUMBER: _ClassVar[int]
    EXACT_FIELD_NUMBER: _ClassVar[int]
    ONLY_XLA_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    operation: str
    layer: str
    phase: str
    file: str
    line: int
    code: str
    inputs: _containers.RepeatedScalarFieldContainer[str]
    outputs: _containers.RepeatedScalarFieldContainer[str]
    share: float
    exact: bool
    only_xla: bool
    summary: str
    path: _containers.RepeatedCompositeFieldContainer[PathRow]
    def __init__(self, operation: _Optional[str] = ..., layer: _Optional[str] = ..., phase: _Optional[str] = ..., file: _Optional[str] = ..., line: _Optional[int] = ..., code: _Optional[str] = ..., inputs: _Optional[_Iterable[str]] = ..., outputs: _Optional[_Iterable[str]] = ..., share: _Optional[float] = ..., exact: bool = ..., only_xla: bool = ..., summary: _Optional[str] = ..., path: _Optional[_Iterable[_Union[PathRow, _Mapping]]] = ...) -> None: ...

class PathRow(_message.Message):
    __slots__ = ("layer", "operation", "file", "line", "log10_size")
    LAYER_FIELD_NUMBER: _ClassVar[int]
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    FILE_FIELD_NUMBER: _ClassVar[int]
    LINE_FIELD_NUMBER: _ClassVar[int]
    LOG10_SIZE_FIELD_NUMBER: _ClassVar[int]
    layer: str
    operation: str
    file: str
    line: int
    log10_size: float
    def __init__(self, layer: _Optional[str] = ..., operation: _Optional[str] = ..., file: _Optional[str] = ..., line: _Optional[int] = ..., log10_size: _Optional[float] = ...) -> None: ...

class Flag(_message.Message):
    __slots__ = ("rule", "severity", "variables", "first_step", "last_step", "open", "summary", "evidence", "causes", "fixes", "follow_ups", "provisional", "origin")
    RULE_FIELD_NUMBER: _ClassVar[int]
    SEVERITY_FIELD_NUMBER: _ClassVar[int]
    VARIABLES_FIELD_NUMBER: _ClassVar[int]
    FIRST_STEP_FIELD_NUMBER: _ClassVar[int]
    LAST_STEP_FIELD_NUMBER: _ClassVar[int]
    OPEN_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    CAUSES_FIELD_NUMBER: _ClassVar[int]
    FIXES_FIELD_NUMBER: _ClassVar[int]
    FOLLOW_UPS_FIELD_NUMBER: _ClassVar[int]
    PROVISIONAL_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    rule: str
    severity: str
    variables: _containers.RepeatedScalarFieldContainer[str]
    first_step: int
    last_step: int
    open: bool
    summary: str
    evidence: _containers.RepeatedCompositeFieldContainer[Evidence]
    causes: _containers.RepeatedCompositeFieldContainer[Cause]
    fixes: _containers.RepeatedScalarFieldContainer[str]
    follow_ups: _containers.RepeatedScalarFieldContainer[str]
    provisional: bool
    origin: Origin
    def __init__(self, rule: _Optional[str] = ..., severity: _Optional[str] = ..., variables: _Optional[_Iterable[str]] = ..., first_step: _Optional[int] = ..., last_step: _Optional[int] = ..., open: bool = ..., summary: _Optional[str] = ..., evidence: _Optional[_Iterable[_Union[Evidence, _Mapping]]] = ..., causes: _Optional[_Iterable[_Union[Cause, _Mapping]]] = ..., fixes: _Optional[_Iterable[str]] = ..., follow_ups: _Optional[_Iterable[str]] = ..., provisional: bool = ..., origin: _Optional[_Union[Origin, _Mapping]] = ...) -> None: ...

class RuleError(_message.Message):
    __slots__ = ("rule", "step", "message", "stopped")
    RULE_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    STOPPED_FIELD_NUMBER: _ClassVar[int]
    rule: str
    step: int
    message: str
    stopped: bool
    def __init__(self, rule: _Optional[str] = ..., step: _Optional[int] = ..., message: _Optional[str] = ..., stopped: bool = ...) -> None: ...

class RuleState(_message.Message):
    __slots__ = ("rule", "state", "reason")
    RULE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    rule: str
    state: str
    reason: str
    def __init__(self, rule: _Optional[str] = ..., state: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class FlagList(_message.Message):
    __slots__ = ("format_version", "flags", "errors", "last_step", "frames", "rules", "undecided", "fingerprint", "own_rules")
    FORMAT_VERSION_FIELD_NUMBER: _ClassVar[int]
    FLAGS_FIELD_NUMBER: _ClassVar[int]
    ERRORS_FIELD_NUMBER: _ClassVar[int]
    LAST_STEP_FIELD_NUMBER: _ClassVar[int]
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    RULES_FIELD_NUMBER: _ClassVar[int]
    UNDECIDED_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    OWN_RULES_FIELD_NUMBER: _ClassVar[int]
    format_version: int
    flags: _containers.RepeatedCompositeFieldContainer[Flag]
    errors: _containers.RepeatedCompositeFieldContainer[RuleError]
    last_step: int
    frames: int
    rules: _containers.RepeatedCompositeFieldContainer[RuleState]
    undecided: str
    fingerprint: str
    own_rules: str
    def __init__(self, format_version: _Optional[int] = ..., flags: _Optional[_Iterable[_Union[Flag, _Mapping]]] = ..., errors: _Optional[_Iterable[_Union[RuleError, _Mapping]]] = ..., last_step: _Optional[int] = ..., frames: _Optional[int] = ..., rules: _Optional[_Iterable[_Union[RuleState, _Mapping]]] = ..., undecided: _Optional[str] = ..., fingerprint: _Optional[str] = ..., own_rules: _Optional[str] = ...) -> None: ...

class LanePack(_message.Message):
    __slots__ = ("table_id", "first_step", "blocks", "spans", "behind", "norms", "marks", "counts", "losses", "loss_names", "named_counts", "named_losses")
    TABLE_ID_FIELD_NUMBER: _ClassVar[int]
    FIRST_STEP_FIELD_NUMBER: _ClassVar[int]
    BLOCKS_FIELD_NUMBER: _ClassVar[int]
    SPANS_FIELD_NUMBER: _ClassVar[int]
    BEHIND_FIELD_NUMBER: _ClassVar[int]
    NORMS_FIELD_NUMBER: _ClassVar[int]
    MARKS_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    LOSSES_FIELD_NUMBER: _ClassVar[int]
    LOSS_NAMES_FIELD_NUMBER: _ClassVar[int]
    NAMED_COUNTS_FIELD_NUMBER: _ClassVar[int]
    NAMED_LOSSES_FIELD_NUMBER: _ClassVar[int]
    table_id: int
    first_step: int
    blocks: int
    spans: _containers.RepeatedScalarFieldContainer[int]
    behind: _containers.RepeatedScalarFieldContainer[int]
    norms: bytes
    marks: bytes
    counts: bytes
    losses: bytes
    loss_names: _containers.RepeatedScalarFieldContainer[str]
    named_counts: bytes
    named_losses: bytes
    def __init__(self, table_id: _Optional[int] = ..., first_step: _Optional[int] = ..., blocks: _Optional[int] = ..., spans: _Optional[_Iterable[int]] = ..., behind: _Optional[_Iterable[int]] = ..., norms: _Optional[bytes] = ..., marks: _Optional[bytes] = ..., counts: _Optional[bytes] = ..., losses: _Optional[bytes] = ..., loss_names: _Optional[_Iterable[str]] = ..., named_counts: _Optional[bytes] = ..., named_losses: _Optional[bytes] = ...) -> None: ...
