-- The catalog: facts about the world, each row with where it comes from (source_url) and when that was read (as_of).
-- Tables stand in the order they are filled: a row may only point to rows above it.
-- `line` is the line of the row in its data file, so that an error or a page can point to it.
-- Bytes are integers, rates are per second, as_of is YYYY, YYYY-MM or YYYY-MM-DD.

CREATE TABLE families (
    family      VARCHAR PRIMARY KEY,
    org         VARCHAR NOT NULL CHECK (org <> ''),
    source_url  VARCHAR NOT NULL CHECK (source_url LIKE 'http%' OR source_url LIKE 'file:%'),
    as_of       VARCHAR NOT NULL CHECK (regexp_full_match(as_of, '\d{4}(-\d{2}(-\d{2})?)?'))
);

CREATE TABLE licenses (
    license_id  VARCHAR PRIMARY KEY,
    name        VARCHAR NOT NULL CHECK (name <> ''),
    commercial  VARCHAR NOT NULL CHECK (commercial IN ('yes', 'conditional', 'no', 'unknown')),
    research    BOOLEAN NOT NULL,
    verified    BOOLEAN NOT NULL,
    url         VARCHAR NOT NULL,
    quote       VARCHAR,
    conditions  VARCHAR[] NOT NULL,
    source_url  VARCHAR NOT NULL CHECK (source_url LIKE 'http%'),
    as_of       VARCHAR NOT NULL CHECK (regexp_full_match(as_of, '\d{4}(-\d{2}(-\d{2})?)?'))
);

-- The rules of each licence; catalog/licenses.py says what the conditions mean. Empty lists and NULL: no such condition.
CREATE TABLE license_clauses (
    license_id         VARCHAR NOT NULL REFERENCES licenses (license_id),
    position           INTEGER NOT NULL CHECK (position >= 0),
    kind               VARCHAR NOT NULL CHECK (kind <> ''),
    effect             VARCHAR NOT NULL CHECK (effect IN ('grant', 'duty', 'ask', 'forbid')),
    says               VARCHAR NOT NULL CHECK (says <> ''),
    quote              VARCHAR,
    verified           BOOLEAN NOT NULL,
    purposes           VARCHAR[] NOT NULL,
    actions            VARCHAR[] NOT NULL,
    fields             VARCHAR[] NOT NULL,
    regions            VARCHAR[] NOT NULL,
    users_above        BIGINT CHECK (users_above > 0),
    revenue_above_usd  BIGINT CHECK (revenue_above_usd > 0),
    revenue_per        VARCHAR NOT NULL CHECK (revenue_per IN ('year', 'month')),
    counted_on         VARCHAR CHECK (regexp_full_match(counted_on, '\d{4}-\d{2}-\d{2}')),
    multimodal_only    BOOLEAN NOT NULL,
    source_url         VARCHAR NOT NULL CHECK (source_url LIKE 'http%'),
    as_of              VARCHAR NOT NULL CHECK (regexp_full_match(as_of, '\d{4}(-\d{2}(-\d{2})?)?')),
    CHECK (NOT verified OR quote IS NOT NULL),
    PRIMARY KEY (license_id, position)
);

-- The catalog's own models (origin 'curated') and those the person took in from the Hub or from a file. What an import
-- does not say (release, tasks) may be empty; a file's source is a file: address. revision: the commit on the Hub.
CREATE TABLE models (
    model_id            VARCHAR PRIMARY KEY,
    name                VARCHAR NOT NULL UNIQUE CHECK (name <> ''),
    family              VARCHAR NOT NULL REFERENCES families (family),
    org                 VARCHAR NOT NULL,
    release             VARCHAR NOT NULL CHECK (regexp_full_match(release, '\d{4}-\d{2}') OR (release = '' AND origin <> 'curated')),
    license_id          VARCHAR NOT NULL REFERENCES licenses (license_id),
    openness            VARCHAR NOT NULL CHECK (openness IN ('open source', 'open weight', 'restricted weight')),
    modalities          VARCHAR[] NOT NULL CHECK (len(modalities) > 0 OR origin <> 'curated'),
    tasks               VARCHAR[] NOT NULL CHECK (len(tasks) > 0 OR origin <> 'curated'),
    gated               BOOLEAN,
    architecture        VARCHAR NOT NULL,
    n_layers            INTEGER NOT NULL CHECK (n_layers > 0),
    hidden_dim          INTEGER NOT NULL CHECK (hidden_dim > 0),
    vocab_size          INTEGER NOT NULL CHECK (vocab_size > 0),
    context_tokens      BIGINT NOT NULL CHECK (context_tokens > 0),
    tied_embeddings     BOOLEAN NOT NULL,
    n_params            BIGINT NOT NULL CHECK (n_params > 0),
    n_active_params     BIGINT NOT NULL CHECK (n_active_params > 0 AND n_active_params <= greatest(n_params, n_params_reported)),
    n_params_projector  BIGINT CHECK (n_params_projector > 0),
    n_params_reported   BIGINT NOT NULL CHECK (n_params_reported > 0),
    quant_native        VARCHAR,
    confidence          VARCHAR NOT NULL CHECK (confidence IN ('read', 'recalled')),
    unverified          VARCHAR[] NOT NULL,
    notes               VARCHAR[] NOT NULL,
    origin              VARCHAR NOT NULL CHECK (origin IN ('curated', 'hub', 'file')),
    revision            VARCHAR,
    n_downloads         BIGINT CHECK (n_downloads >= 0),
    n_likes             BIGINT CHECK (n_likes >= 0),
    source_url          VARCHAR NOT NULL CHECK (source_url LIKE 'http%' OR (source_url LIKE 'file:%' AND origin = 'file')),
    as_of               VARCHAR NOT NULL CHECK (regexp_full_match(as_of, '\d{4}(-\d{2}(-\d{2})?)?'))
);

-- One row per group of equal layers. Absent parts are NULL: no attention, no recurrence, no feed-forward.
CREATE TABLE model_layers (
    model_id               VARCHAR NOT NULL REFERENCES models (model_id),
    group_index            INTEGER NOT NULL CHECK (group_index >= 0),
    layers                 INTEGER[] NOT NULL CHECK (len(layers) > 0),
    attention              VARCHAR CHECK (attention IN ('full', 'sliding', 'chunked', 'latent')),
    n_heads                INTEGER CHECK (n_heads > 0),
    n_kv_heads             INTEGER CHECK (n_kv_heads >= 0),
    head_dim               INTEGER CHECK (head_dim > 0),
    head_dim_v             INTEGER CHECK (head_dim_v > 0),
    window_tokens          INTEGER CHECK (window_tokens > 0),
    kv_lora_rank           INTEGER CHECK (kv_lora_rank > 0),
    rope_head_dim          INTEGER CHECK (rope_head_dim >= 0),
    shares_kv              BOOLEAN,
    recurrent              VARCHAR,
    conv_elements          BIGINT CHECK (conv_elements >= 0),
    state_elements         BIGINT CHECK (state_elements >= 0),
    ffn_dim                INTEGER CHECK (ffn_dim >= 0),
    n_experts              INTEGER CHECK (n_experts >= 0),
    n_active_experts       INTEGER CHECK (n_active_experts >= 0 AND n_active_experts <= n_experts),
    expert_ffn_dim         INTEGER CHECK (expert_ffn_dim >= 0),
    shared_expert_ffn_dim  INTEGER CHECK (shared_expert_ffn_dim >= 0),
    source_url             VARCHAR NOT NULL CHECK (source_url LIKE 'http%'),
    as_of                  VARCHAR NOT NULL CHECK (regexp_full_match(as_of, '\d{4}(-\d{2}(-\d{2})?)?')),
    PRIMARY KEY (model_id, group_index)
);

CREATE TABLE model_sources (
    model_id    VARCHAR NOT NULL REFERENCES models (model_id),
    position    INTEGER NOT NULL CHECK (position >= 0),
    source_url  VARCHAR NOT NULL CHECK (source_url LIKE 'http%' OR source_url LIKE 'file:%'),
    as_of       VARCHAR NOT NULL CHECK (regexp_full_match(as_of, '\d{4}(-\d{2}(-\d{2})?)?')),
    PRIMARY KEY (model_id, position)
);

-- memory_bytes: memory chips as sold, in bytes. usable_bytes: what a model may take (catalog/data/hardware.md has the
-- rules). fp16_flops, bf16_flops, fp8_flops: dense operations per second of the fastest unit that adds up in 32 bit; NULL
-- where the chip does not have it or no trustworthy figure was found. architecture: the maker's generation.
-- link_bytes_per_s: to the host, one way. aliases: other names, separated by ';'.
CREATE TABLE hardware (
    line                   INTEGER NOT NULL,
    name                   VARCHAR PRIMARY KEY,
    aliases                VARCHAR,
    vendor                 VARCHAR NOT NULL CHECK (vendor <> ''),
    kind                   VARCHAR NOT NULL CHECK (kind IN ('cpu', 'gpu', 'unified')),
    memory_bytes           BIGINT NOT NULL CHECK (memory_bytes > 0),
    usable_bytes           BIGINT NOT NULL CHECK (usable_bytes > 0 AND usable_bytes <= memory_bytes),
    bandwidth_bytes_per_s  BIGINT CHECK (bandwidth_bytes_per_s > 0),
    fp16_flops             DOUBLE CHECK (fp16_flops > 0),
    bf16_flops             DOUBLE CHECK (bf16_flops > 0),
    fp8_flops              DOUBLE CHECK (fp8_flops > 0),
    backend                VARCHAR NOT NULL CHECK (backend IN ('cpu', 'cuda', 'rocm', 'vulkan', 'metal', 'sycl', 'hpu')),
    architecture           VARCHAR CHECK (regexp_full_match(architecture, '[a-z][a-z0-9.-]*')),
    memory_type            VARCHAR NOT NULL CHECK (memory_type IN ('hbm', 'gddr', 'lpddr', 'ddr')),
    link_bytes_per_s       BIGINT CHECK (link_bytes_per_s > 0),
    power_watts            INTEGER CHECK (power_watts > 0),
    price_usd              INTEGER CHECK (price_usd > 0),
    price_source_url       VARCHAR CHECK (price_source_url LIKE 'http%'),
    release_year           INTEGER CHECK (release_year BETWEEN 2010 AND 2030),
    notes                  VARCHAR,
    source_url             VARCHAR NOT NULL CHECK (source_url LIKE 'http%'),
    as_of                  VARCHAR NOT NULL CHECK (regexp_full_match(as_of, '\d{4}(-\d{2}(-\d{2})?)?')),
    CHECK ((kind = 'cpu') = (backend = 'cpu')),
    CHECK (kind = 'gpu' OR link_bytes_per_s IS NULL),
    CHECK (kind = 'cpu' OR architecture IS NOT NULL),
    CHECK ((price_usd IS NULL) = (price_source_url IS NULL))
);

-- What others ask for: rent of a card per hour, an API per million tokens, electricity per kWh, and what a currency is
-- worth. One row per offer; `hardware` and `model_id` are the catalog's own names where it has the thing. `region` is
-- where a provider processes data, empty where it is not known. confidence: 'read' at the source, or 'recalled'.
CREATE TABLE prices (
    line                       INTEGER NOT NULL,
    kind                       VARCHAR NOT NULL CHECK (kind IN ('rent', 'api', 'electricity', 'exchange')),
    item                       VARCHAR NOT NULL CHECK (item <> ''),
    provider                   VARCHAR NOT NULL CHECK (provider <> ''),
    provider_class             VARCHAR NOT NULL CHECK (provider_class IN ('hyperscaler', 'specialist', 'marketplace', 'vendor', 'host', 'grid', 'central bank')),
    hardware                   VARCHAR REFERENCES hardware (name),
    model_id                   VARCHAR REFERENCES models (model_id),
    region                     VARCHAR CHECK (region <> ''),
    usd_per_gpu_hour           DOUBLE CHECK (usd_per_gpu_hour > 0 AND usd_per_gpu_hour < 10000),
    reserved_usd_per_gpu_hour  DOUBLE CHECK (reserved_usd_per_gpu_hour > 0 AND reserved_usd_per_gpu_hour <= usd_per_gpu_hour),
    usd_per_million_input      DOUBLE CHECK (usd_per_million_input > 0 AND usd_per_million_input < 100000),
    usd_per_million_cached     DOUBLE CHECK (usd_per_million_cached >= 0 AND usd_per_million_cached <= usd_per_million_input),
    usd_per_million_output     DOUBLE CHECK (usd_per_million_output > 0 AND usd_per_million_output < 100000),
    batch_discount             DOUBLE CHECK (batch_discount > 0 AND batch_discount < 1),
    per_kwh                    DOUBLE CHECK (per_kwh > 0 AND per_kwh < 1000),
    currency                   VARCHAR NOT NULL CHECK (regexp_full_match(currency, '[A-Z]{3}')),
    usd_per_currency           DOUBLE CHECK (usd_per_currency > 0 AND usd_per_currency < 10000),
    confidence                 VARCHAR NOT NULL CHECK (confidence IN ('read', 'recalled')),
    note                       VARCHAR,
    source_url                 VARCHAR NOT NULL CHECK (source_url LIKE 'http%'),
    as_of                      VARCHAR NOT NULL CHECK (regexp_full_match(as_of, '\d{4}(-\d{2}(-\d{2})?)?')),
    PRIMARY KEY (kind, item, provider),
    CHECK ((kind = 'rent') = (usd_per_gpu_hour IS NOT NULL)),
    CHECK (kind = 'rent' OR (hardware IS NULL AND reserved_usd_per_gpu_hour IS NULL)),
    CHECK ((kind = 'api') = (usd_per_million_input IS NOT NULL) AND (kind = 'api') = (usd_per_million_output IS NOT NULL)),
    CHECK (kind = 'api' OR (model_id IS NULL AND usd_per_million_cached IS NULL AND batch_discount IS NULL)),
    CHECK ((kind = 'electricity') = (per_kwh IS NOT NULL)),
    CHECK (kind = 'electricity' OR currency = 'USD'),
    CHECK ((kind = 'exchange') = (usd_per_currency IS NOT NULL))
);

-- Published scores. independent: measured by someone other than the publisher of the model.
CREATE TABLE benchmarks (
    line         INTEGER PRIMARY KEY,
    model_id     VARCHAR NOT NULL REFERENCES models (model_id),
    benchmark    VARCHAR NOT NULL CHECK (benchmark <> ''),
    variant      VARCHAR,
    score        DOUBLE NOT NULL,
    mode         VARCHAR,
    setting      VARCHAR,
    metric       VARCHAR,
    reported_by  VARCHAR NOT NULL CHECK (reported_by <> ''),
    independent  BOOLEAN NOT NULL,
    source_url   VARCHAR NOT NULL CHECK (source_url LIKE 'http%'),
    source_note  VARCHAR,
    as_of        VARCHAR NOT NULL CHECK (regexp_full_match(as_of, '\d{4}(-\d{2}(-\d{2})?)?'))
);

-- What a quantization costs in quality, as measured against 16 bit. model_id is NULL for models outside the catalog.
CREATE TABLE quant_quality (
    line               INTEGER PRIMARY KEY,
    model              VARCHAR NOT NULL CHECK (model <> ''),
    model_id           VARCHAR REFERENCES models (model_id),
    family             VARCHAR,
    quant              VARCHAR NOT NULL CHECK (quant <> ''),
    imatrix            VARCHAR,
    test               VARCHAR,
    perplexity         DOUBLE CHECK (perplexity > 0),
    perplexity_base    DOUBLE CHECK (perplexity_base > 0),
    perplexity_ratio   DOUBLE CHECK (perplexity_ratio > 0),
    kl_divergence      DOUBLE,
    same_top_percent   DOUBLE CHECK (same_top_percent BETWEEN 0 AND 100),
    benchmark          VARCHAR,
    benchmark_score    DOUBLE CHECK (benchmark_score BETWEEN 0 AND 100),
    benchmark_base     DOUBLE CHECK (benchmark_base BETWEEN 0 AND 100),
    kv_type_k          VARCHAR,
    kv_type_v          VARCHAR,
    source_url         VARCHAR NOT NULL CHECK (source_url LIKE 'http%'),
    source_note        VARCHAR,
    as_of              VARCHAR NOT NULL CHECK (regexp_full_match(as_of, '\d{4}(-\d{2}(-\d{2})?)?'))
);

-- Exact sizes of published GGUF files.
CREATE TABLE file_sizes (
    line         INTEGER PRIMARY KEY,
    model_id     VARCHAR REFERENCES models (model_id),
    quant        VARCHAR NOT NULL CHECK (quant <> ''),
    repo         VARCHAR NOT NULL CHECK (repo <> ''),
    file         VARCHAR NOT NULL CHECK (file <> ''),
    size_bytes   BIGINT NOT NULL CHECK (size_bytes > 0),
    size_note    VARCHAR,
    source_url   VARCHAR NOT NULL CHECK (source_url LIKE 'http%'),
    source_note  VARCHAR,
    as_of        VARCHAR NOT NULL CHECK (regexp_full_match(as_of, '\d{4}(-\d{2}(-\d{2})?)?'))
);

-- Memory that others read in an engine's log or on a card, where the setting is told completely enough to compare.
CREATE TABLE memory_logs (
    line             INTEGER PRIMARY KEY,
    model_id         VARCHAR NOT NULL REFERENCES models (model_id),
    quant            VARCHAR,
    context_tokens   INTEGER NOT NULL CHECK (context_tokens > 0),
    n_parallel       INTEGER NOT NULL CHECK (n_parallel > 0),
    n_ubatch         INTEGER NOT NULL CHECK (n_ubatch > 0),
    kv_type          VARCHAR NOT NULL,
    flash_attention  BOOLEAN,
    kv_unified       BOOLEAN NOT NULL,
    swa_full         BOOLEAN NOT NULL,
    backend          VARCHAR NOT NULL CHECK (backend IN ('cuda', 'rocm', 'vulkan', 'sycl')),
    part             VARCHAR NOT NULL CHECK (part IN ('weights', 'kv_cache', 'device_compute', 'device_total')),
    published_mib    DOUBLE NOT NULL CHECK (published_mib > 0),
    mind             VARCHAR,
    engine_version   VARCHAR,
    source_url       VARCHAR NOT NULL CHECK (source_url LIKE 'http%'),
    source_note      VARCHAR,
    as_of            VARCHAR NOT NULL CHECK (regexp_full_match(as_of, '\d{4}(-\d{2}(-\d{2})?)?')),
    CHECK (quant IS NOT NULL OR part NOT IN ('weights', 'device_total'))
);

-- What serving engines printed when they started: weights on a card, memory left for the cache, and what it holds.
-- `utilization` is empty where the share of the card, or what else decides the cache, is not told.
CREATE TABLE serving_logs (
    line             INTEGER PRIMARY KEY,
    model_id         VARCHAR NOT NULL REFERENCES models (model_id),
    checkpoint       VARCHAR NOT NULL CHECK (checkpoint <> ''),
    weight_format    VARCHAR NOT NULL CHECK (weight_format <> ''),
    engine           VARCHAR NOT NULL CHECK (engine IN ('vLLM', 'SGLang')),
    engine_version   VARCHAR,
    hardware         VARCHAR NOT NULL REFERENCES hardware (name),
    n_cards          INTEGER NOT NULL CHECK (n_cards > 0),
    n_stages         INTEGER NOT NULL CHECK (n_stages > 0 AND n_cards % n_stages = 0),
    utilization      DOUBLE CHECK (utilization > 0 AND utilization <= 1),
    context_tokens   INTEGER NOT NULL CHECK (context_tokens > 0),
    max_sequences    INTEGER CHECK (max_sequences > 0),
    weights_mib      DOUBLE CHECK (weights_mib > 0),
    kv_mib           DOUBLE CHECK (kv_mib > 0),
    kv_tokens        INTEGER CHECK (kv_tokens > 0),
    requests         DOUBLE CHECK (requests > 0),
    mind             VARCHAR,
    source_url       VARCHAR NOT NULL CHECK (source_url LIKE 'http%'),
    source_note      VARCHAR,
    as_of            VARCHAR NOT NULL CHECK (regexp_full_match(as_of, '\d{4}(-\d{2}(-\d{2})?)?')),
    CHECK (weights_mib IS NOT NULL OR kv_tokens IS NOT NULL)
);

-- What llama.cpp said each model weighs in each quantization, in bytes; layer lists are in layer order.
CREATE TABLE weights (
    model_id               VARCHAR NOT NULL REFERENCES models (model_id),
    quant                  VARCHAR NOT NULL,
    input_bytes            BIGINT NOT NULL CHECK (input_bytes >= 0),
    output_bytes           BIGINT NOT NULL CHECK (output_bytes >= 0),
    token_embedding_bytes  BIGINT NOT NULL CHECK (token_embedding_bytes >= 0),
    layer_bytes            BIGINT[] NOT NULL CHECK (len(layer_bytes) > 0),
    layer_expert_bytes     BIGINT[] NOT NULL CHECK (len(layer_expert_bytes) = len(layer_bytes)),
    tensor_digest          VARCHAR NOT NULL,
    llama_cpp_version      VARCHAR NOT NULL,
    source_url             VARCHAR NOT NULL CHECK (source_url LIKE 'http%'),
    as_of                  VARCHAR NOT NULL CHECK (regexp_full_match(as_of, '\d{4}(-\d{2}(-\d{2})?)?')),
    PRIMARY KEY (model_id, quant)
);

-- Why the engine could not weigh a model.
CREATE TABLE weigh_gaps (
    model_id    VARCHAR PRIMARY KEY REFERENCES models (model_id),
    reason      VARCHAR NOT NULL CHECK (reason <> ''),
    source_url  VARCHAR NOT NULL CHECK (source_url LIKE 'http%' OR source_url LIKE 'file:%'),
    as_of       VARCHAR NOT NULL CHECK (regexp_full_match(as_of, '\d{4}(-\d{2}(-\d{2})?)?'))
);
