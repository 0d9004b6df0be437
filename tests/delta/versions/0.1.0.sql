-- What `vlm4rec ddl` printed for version 0.1.0 as of 2026-11-24, schema `earlier`.
CREATE SCHEMA IF NOT EXISTS `earlier`;
CREATE TABLE IF NOT EXISTS `earlier`.`items` (
  `item_id` STRING NOT NULL COMMENT 'Id of the item as text',
  `title` STRING COMMENT 'Title, cleaned',
  `category` STRING COMMENT 'Category',
  `brand` STRING COMMENT 'Brand',
  `price` DOUBLE COMMENT 'Price in the currency of the source',
  `available` BOOLEAN COMMENT 'False when the source says so or no longer has the item',
  `attributes` MAP<STRING, STRING> COMMENT 'Further columns of the source as text',
  `variant_group` STRING COMMENT 'Shared by variants of one product (sizes, colours)',
  `first_seen` TIMESTAMP COMMENT 'First run that saw the item',
  `updated_at` TIMESTAMP COMMENT 'Last run that changed the row',
  `request_key` STRING COMMENT 'Description in force, a key of descriptions'
)
USING DELTA
CLUSTER BY (item_id)
COMMENT 'The catalogue: one row per item ever seen'
TBLPROPERTIES ('delta.enableChangeDataFeed' = 'true');

ALTER TABLE `earlier`.`items` ADD CONSTRAINT available_known CHECK (available IS NOT NULL);

CREATE TABLE IF NOT EXISTS `earlier`.`images` (
  `item_id` STRING NOT NULL COMMENT 'Item',
  `position` INT NOT NULL COMMENT '0 is the primary picture',
  `uri` STRING COMMENT 'Path or URL; null for bytes from a column',
  `sha256` STRING COMMENT 'Hash of the raw bytes, hexadecimal',
  `width` INT COMMENT 'Width in pixels after rotation, before resizing',
  `height` INT COMMENT 'Height in pixels after rotation, before resizing',
  `status` STRING COMMENT 'ok or error',
  `code` STRING COMMENT 'Code of the error',
  `message` STRING COMMENT 'The error in words'
)
USING DELTA
CLUSTER BY (item_id, position)
COMMENT 'The pictures of the items: what was read and what failed'
TBLPROPERTIES ('delta.enableChangeDataFeed' = 'true');

ALTER TABLE `earlier`.`images` ADD CONSTRAINT status_known CHECK (status IN ('ok', 'error'));

ALTER TABLE `earlier`.`images` ADD CONSTRAINT ok_is_hashed CHECK (status <> 'ok' OR sha256 IS NOT NULL);

CREATE TABLE IF NOT EXISTS `earlier`.`descriptions_log` (
  `request_key` STRING NOT NULL COMMENT 'Hash of pictures, prompt, schema, model, parameters and resizing',
  `attempt` INT NOT NULL COMMENT '1 is the first',
  `picture_hashes` ARRAY<STRING> COMMENT 'sha256 of the pictures in order',
  `attribute_schema` STRING COMMENT 'Name of the attribute file',
  `category` STRING COMMENT 'Category the prompt was made for',
  `prompt_version` STRING COMMENT 'Hash of the prompt and the answer\'s schema',
  `model` STRING COMMENT 'model@revision',
  `params_hash` STRING COMMENT 'Hash of the decoding parameters and the resize rule',
  `status` STRING COMMENT 'ok, error or skipped',
  `stage` STRING COMMENT 'Stage of the error: picture, request, answer',
  `error_code` STRING COMMENT 'Code of the error',
  `error_message` STRING COMMENT 'The error in words',
  `description` STRING COMMENT 'For a shopper: style, material, occasion',
  `attributes` MAP<STRING, STRUCT<value: STRING, confidence: DOUBLE>> COMMENT 'Typed attributes; value null is \'not visible\'',
  `raw_text` STRING COMMENT 'What the model wrote',
  `tokens_in` INT COMMENT 'Prompt tokens',
  `tokens_cached` INT COMMENT 'Prompt tokens that came from the cache',
  `tokens_out` INT COMMENT 'Tokens of the answer',
  `latency_ms` DOUBLE COMMENT 'From sending to the last byte',
  `engine` STRING COMMENT 'local, endpoint or fake',
  `run_id` STRING COMMENT 'Run that described it',
  `described_at` TIMESTAMP COMMENT 'When the answer came'
)
USING DELTA
CLUSTER BY (request_key, attempt)
COMMENT 'Every answer of the model, good or bad; append-only'
TBLPROPERTIES ('delta.enableChangeDataFeed' = 'true');

ALTER TABLE `earlier`.`descriptions_log` ADD CONSTRAINT status_known CHECK (status IN ('ok', 'error', 'skipped'));

ALTER TABLE `earlier`.`descriptions_log` ADD CONSTRAINT ok_is_described CHECK (status <> 'ok' OR description IS NOT NULL);

ALTER TABLE `earlier`.`descriptions_log` ADD CONSTRAINT error_has_code CHECK (status <> 'error' OR error_code IS NOT NULL);

CREATE TABLE IF NOT EXISTS `earlier`.`descriptions` (
  `request_key` STRING NOT NULL COMMENT 'Hash of pictures, prompt, schema, model, parameters and resizing',
  `picture_hashes` ARRAY<STRING> COMMENT 'sha256 of the pictures in order',
  `attribute_schema` STRING COMMENT 'Name of the attribute file',
  `category` STRING COMMENT 'Category the prompt was made for',
  `prompt_version` STRING COMMENT 'Hash of the prompt and the answer\'s schema',
  `model` STRING COMMENT 'model@revision',
  `params_hash` STRING COMMENT 'Hash of the decoding parameters and the resize rule',
  `status` STRING COMMENT 'ok, error or skipped',
  `stage` STRING COMMENT 'Stage of the error: picture, request, answer',
  `error_code` STRING COMMENT 'Code of the error',
  `error_message` STRING COMMENT 'The error in words',
  `description` STRING COMMENT 'For a shopper: style, material, occasion',
  `attributes` MAP<STRING, STRUCT<value: STRING, confidence: DOUBLE>> COMMENT 'Typed attributes; value null is \'not visible\'',
  `raw_text` STRING COMMENT 'What the model wrote',
  `tokens_in` INT COMMENT 'Prompt tokens',
  `tokens_cached` INT COMMENT 'Prompt tokens that came from the cache',
  `tokens_out` INT COMMENT 'Tokens of the answer',
  `latency_ms` DOUBLE COMMENT 'From sending to the last byte',
  `engine` STRING COMMENT 'local, endpoint or fake',
  `run_id` STRING COMMENT 'Run that described it',
  `described_at` TIMESTAMP COMMENT 'When the answer came'
)
USING DELTA
CLUSTER BY (request_key)
COMMENT 'The description in force for each request key'
TBLPROPERTIES ('delta.enableChangeDataFeed' = 'true');

ALTER TABLE `earlier`.`descriptions` ADD CONSTRAINT status_known CHECK (status IN ('ok', 'error', 'skipped'));

ALTER TABLE `earlier`.`descriptions` ADD CONSTRAINT ok_is_described CHECK (status <> 'ok' OR description IS NOT NULL);

ALTER TABLE `earlier`.`descriptions` ADD CONSTRAINT error_has_code CHECK (status <> 'error' OR error_code IS NOT NULL);

CREATE TABLE IF NOT EXISTS `earlier`.`embeddings` (
  `text_sha256` STRING NOT NULL COMMENT 'Hash of the text',
  `encoder` STRING NOT NULL COMMENT 'encoder@revision',
  `vector` ARRAY<FLOAT> COMMENT 'Unit vector, float32',
  `n_words` INT COMMENT 'Words of the text'
)
USING DELTA
CLUSTER BY (text_sha256, encoder)
COMMENT 'Unit vectors of texts, cached by text and encoder'
TBLPROPERTIES ('delta.enableChangeDataFeed' = 'true');

ALTER TABLE `earlier`.`embeddings` ADD CONSTRAINT vector_filled CHECK (vector IS NOT NULL AND size(vector) > 0);

CREATE TABLE IF NOT EXISTS `earlier`.`item_vectors` (
  `item_id` STRING NOT NULL COMMENT 'Item',
  `space` STRING NOT NULL COMMENT 'caption, title, title_caption or attributes',
  `text_sha256` STRING COMMENT 'Hash of the text',
  `encoder` STRING COMMENT 'encoder@revision',
  `vector` ARRAY<FLOAT> COMMENT 'Unit vector, float32',
  `status` STRING COMMENT 'ok or error',
  `message` STRING COMMENT 'The error in words'
)
USING DELTA
CLUSTER BY (space, item_id)
COMMENT 'The vector in force for each item and space'
TBLPROPERTIES ('delta.enableChangeDataFeed' = 'true');

ALTER TABLE `earlier`.`item_vectors` ADD CONSTRAINT status_known CHECK (status IN ('ok', 'error'));

ALTER TABLE `earlier`.`item_vectors` ADD CONSTRAINT ok_has_vector CHECK (status <> 'ok' OR size(vector) > 0);

CREATE TABLE IF NOT EXISTS `earlier`.`profiles` (
  `user_id` STRING NOT NULL COMMENT 'User',
  `interest_no` INT NOT NULL COMMENT '0 is the main interest',
  `vector` ARRAY<FLOAT> COMMENT 'Unit vector, float32',
  `weight` DOUBLE COMMENT 'Sum of the decayed event weights',
  `n_events` INT COMMENT 'Events that count',
  `last_event_at` TIMESTAMP COMMENT 'Newest event'
)
USING DELTA
CLUSTER BY (user_id, interest_no)
COMMENT 'What each user likes, as unit vectors'
TBLPROPERTIES ('delta.enableChangeDataFeed' = 'true');

ALTER TABLE `earlier`.`profiles` ADD CONSTRAINT vector_filled CHECK (vector IS NOT NULL AND size(vector) > 0);

CREATE TABLE IF NOT EXISTS `earlier`.`recommendations` (
  `user_id` STRING NOT NULL COMMENT 'User',
  `rank` INT NOT NULL COMMENT '1 is the best; ties by item id',
  `item_id` STRING COMMENT 'Recommended item',
  `score` DOUBLE COMMENT 'Cosine with the profile; popularity for arm popular',
  `because_item_id` STRING COMMENT 'Item of the history that weighs most',
  `shared_attributes` ARRAY<STRING> COMMENT 'Attribute words both items share',
  `reason` STRING COMMENT 'The reason in one sentence',
  `arm` STRING COMMENT 'profile or popular',
  `run_id` STRING COMMENT 'Run that last changed the row'
)
USING DELTA
CLUSTER BY (user_id, rank)
COMMENT 'The list of each user'
TBLPROPERTIES ('delta.enableChangeDataFeed' = 'true');

ALTER TABLE `earlier`.`recommendations` ADD CONSTRAINT arm_known CHECK (arm IN ('profile', 'popular'));

ALTER TABLE `earlier`.`recommendations` ADD CONSTRAINT rank_from_one CHECK (rank >= 1);

ALTER TABLE `earlier`.`recommendations` ADD CONSTRAINT item_named CHECK (item_id IS NOT NULL);

CREATE TABLE IF NOT EXISTS `earlier`.`similar_items` (
  `target_item_id` STRING NOT NULL COMMENT 'Item the list is for',
  `rank` INT NOT NULL COMMENT '1 is the nearest; ties by item id',
  `item_id` STRING COMMENT 'Similar item',
  `score` DOUBLE COMMENT 'Cosine of the vectors',
  `reason` STRING COMMENT 'The reason in one sentence',
  `run_id` STRING COMMENT 'Run that last changed the row'
)
USING DELTA
CLUSTER BY (target_item_id, rank)
COMMENT 'The nearest items of each item'
TBLPROPERTIES ('delta.enableChangeDataFeed' = 'true');

ALTER TABLE `earlier`.`similar_items` ADD CONSTRAINT rank_from_one CHECK (rank >= 1);

ALTER TABLE `earlier`.`similar_items` ADD CONSTRAINT another_item CHECK (item_id <> target_item_id);

CREATE TABLE IF NOT EXISTS `earlier`.`runs` (
  `run_id` STRING NOT NULL COMMENT 'Run',
  `stage` STRING NOT NULL COMMENT 'catalog, descriptions, embeddings, profiles, topk',
  `started_at` TIMESTAMP COMMENT 'Start of the stage',
  `seconds` DOUBLE COMMENT 'Wall-clock seconds',
  `config_hash` STRING COMMENT 'Hash of the configuration, without secrets',
  `git_commit` STRING COMMENT 'Commit of the code, where it runs from a checkout',
  `versions` MAP<STRING, STRING> COMMENT 'Package -> version',
  `counts` MAP<STRING, BIGINT> COMMENT 'Rows in, out, failed, reused ...',
  `figures` MAP<STRING, DOUBLE> COMMENT 'Rates and audits',
  `bottleneck` STRING COMMENT 'What the stage spent its time on, in words'
)
USING DELTA
CLUSTER BY (run_id, stage)
COMMENT 'What each stage of each run did'
TBLPROPERTIES ('delta.enableChangeDataFeed' = 'true');

