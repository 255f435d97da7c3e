-- The person's imported models, in a file of its own. What many models share is kept once: a shape, the bytes of one
-- mix of types, the type of every tensor.
-- DuckDB cannot delete a row and the rows that point to it in one transaction, and a model that is imported again is
-- replaced whole. So rows point to what is shared under FOREIGN KEY, and to their model by its id alone. A model's
-- weighing_id names the rows of its weighing, NULL where the engine was not asked.

CREATE TABLE about (
    only_row        INTEGER PRIMARY KEY CHECK (only_row = 1),
    schema_version  INTEGER NOT NULL
);

-- spec: the shape as JSON (catalog/spec_json.py). tensor_digest: sizing.tensors.digest_tensors, NULL where the tensors
-- of the architecture are not known.
CREATE TABLE shapes (
    shape_id       VARCHAR PRIMARY KEY,
    n_layers       INTEGER NOT NULL CHECK (n_layers > 0),
    spec           VARCHAR NOT NULL CHECK (spec <> ''),
    tensor_digest  VARCHAR
);

-- Bytes of tensors by where llama.cpp places them, in layer order; an empty list of experts means none in any layer.
CREATE TABLE weight_sets (
    weights_id             VARCHAR PRIMARY KEY,
    input_bytes            BIGINT NOT NULL CHECK (input_bytes >= 0),
    output_bytes           BIGINT NOT NULL CHECK (output_bytes >= 0),
    token_embedding_bytes  BIGINT NOT NULL CHECK (token_embedding_bytes >= 0),
    layer_bytes            BIGINT[] NOT NULL CHECK (len(layer_bytes) > 0),
    layer_expert_bytes     BIGINT[] NOT NULL CHECK (len(layer_expert_bytes) IN (0, len(layer_bytes)))
);

-- What the engine said of a model in every recipe; models of one shape share one weighing.
CREATE TABLE weighings (
    weighing_id  VARCHAR NOT NULL,
    label        VARCHAR NOT NULL CHECK (label <> ''),
    position     INTEGER NOT NULL CHECK (position >= 0),
    weights_id   VARCHAR NOT NULL REFERENCES weight_sets (weights_id),
    PRIMARY KEY (weighing_id, label)
);

-- The GGML type of every tensor of a file, as JSON: lists of [type, [names]].
CREATE TABLE type_sets (
    types_id  VARCHAR PRIMARY KEY,
    types     VARCHAR NOT NULL CHECK (types <> '')
);

CREATE TABLE models (
    model_id            VARCHAR PRIMARY KEY CHECK (model_id <> ''),
    shape_id            VARCHAR NOT NULL REFERENCES shapes (shape_id),
    weighing_id         VARCHAR,
    name                VARCHAR NOT NULL CHECK (name <> ''),
    family              VARCHAR NOT NULL CHECK (family <> ''),
    org                 VARCHAR NOT NULL,
    release             VARCHAR NOT NULL CHECK (release = '' OR regexp_full_match(release, '\d{4}-\d{2}')),
    license_id          VARCHAR NOT NULL,
    openness            VARCHAR NOT NULL CHECK (openness IN ('open source', 'open weight', 'restricted weight')),
    modalities          VARCHAR[] NOT NULL,
    tasks               VARCHAR[] NOT NULL,
    gated               BOOLEAN,
    context_tokens      BIGINT NOT NULL CHECK (context_tokens > 0),
    n_params            BIGINT NOT NULL CHECK (n_params > 0),
    n_active_params     BIGINT NOT NULL CHECK (n_active_params > 0 AND n_active_params <= greatest(n_params, n_params_reported)),
    n_params_projector  BIGINT CHECK (n_params_projector > 0),
    n_params_reported   BIGINT NOT NULL CHECK (n_params_reported > 0),
    quant_native        VARCHAR,
    confidence          VARCHAR NOT NULL CHECK (confidence IN ('read', 'recalled')),
    unverified          VARCHAR[] NOT NULL,
    card_notes          VARCHAR[] NOT NULL,
    basis               VARCHAR NOT NULL,
    sources             VARCHAR[] NOT NULL CHECK (len(sources) > 0),
    origin              VARCHAR NOT NULL CHECK (origin IN ('hub', 'file')),
    repo_id             VARCHAR NOT NULL,
    revision            VARCHAR NOT NULL,
    shape_from          VARCHAR NOT NULL,
    n_counted           BIGINT NOT NULL CHECK (n_counted > 0),
    n_stated            BIGINT CHECK (n_stated >= 0),
    check_note          VARCHAR NOT NULL,
    imported_at         VARCHAR NOT NULL CHECK (imported_at <> ''),
    weigh_gap           VARCHAR,
    license_tag         VARCHAR NOT NULL,
    license_name        VARCHAR NOT NULL,
    license_url         VARCHAR NOT NULL,
    base_models         VARCHAR[] NOT NULL,
    n_downloads         BIGINT CHECK (n_downloads >= 0),
    n_likes             BIGINT CHECK (n_likes >= 0),
    pipeline_tag        VARCHAR NOT NULL,
    import_notes        VARCHAR[] NOT NULL,
    source_url          VARCHAR NOT NULL CHECK (source_url <> ''),
    as_of               VARCHAR NOT NULL CHECK (regexp_full_match(as_of, '\d{4}(-\d{2}(-\d{2})?)?')),
    CHECK (origin = 'file' OR source_url LIKE 'http%')
);

-- The files a model is in, and what each weighs. One whose header could not be read has no weights and says why.
CREATE TABLE model_files (
    model_id    VARCHAR NOT NULL,
    label       VARCHAR NOT NULL CHECK (label <> ''),
    position    INTEGER NOT NULL CHECK (position >= 0),
    weights_id  VARCHAR REFERENCES weight_sets (weights_id),
    types_id    VARCHAR REFERENCES type_sets (types_id),
    size_bytes  BIGINT NOT NULL CHECK (size_bytes >= 0),
    gap         VARCHAR,
    PRIMARY KEY (model_id, label)
);

-- The parts of each file, in order. sha256 is '' and n_bytes NULL where they are not known.
CREATE TABLE file_parts (
    model_id  VARCHAR NOT NULL,
    label     VARCHAR NOT NULL,
    part      INTEGER NOT NULL CHECK (part >= 0),
    path      VARCHAR NOT NULL CHECK (path <> ''),
    sha256    VARCHAR NOT NULL CHECK (sha256 = '' OR regexp_full_match(sha256, '[0-9a-f]{64}')),
    n_bytes   BIGINT CHECK (n_bytes > 0),
    PRIMARY KEY (model_id, label, part)
);
