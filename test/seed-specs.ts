// The complete run-specs that the product's documentation gives as examples, by format, as they would be posted.
/** The run that `SEED_EVERY_KEY` regenerates. */
export const SEED_PARENT = '01J6N3YV2H3K8E7XR4M2YT5VAW'

/** The run-spec documentation's example of every key, and the same in the other two formats. */
export const SEED_EVERY_KEY = {
  yaml: `# A run-spec that exercises every top-level key. Useful as a
# reference for the layered options.
workflow: video/talking-head
priority: 70 # bump above the default 50
fail_fast: false # variants run independently
metadata: # free-form annotations
  experiment: "april-formula-sweep"
  source: "ci"
state: # echoed in terminal events
  request_id: "req_abc123"
  customer_id: "cust_xyz"
parent: # marks this as a regeneration
  run_id: "01J6N3YV2H3K8E7XR4M2YT5VAW"
  variant_index: 1
input:
  topic: overthinking
  script_formula: reframe
  variants: 3 # universal: fan out 3 variants
  regenerate: # universal: regen direction
    direction: "more humor"
    keep: ["script", "voice"]
  style: punchy # extra="allow": passes through
  quality: high
`,
  toml: `# A run-spec that exercises every top-level key.
workflow = "video/talking-head"
priority = 70
fail_fast = false

[metadata]
experiment = "april-formula-sweep"
source = "ci"

[state]
request_id = "req_abc123"
customer_id = "cust_xyz"

[parent]
run_id = "01J6N3YV2H3K8E7XR4M2YT5VAW"
variant_index = 1

[input]
topic = "overthinking"
script_formula = "reframe"
variants = 3
style = "punchy"
quality = "high"

[input.regenerate]
direction = "more humor"
keep = ["script", "voice"]
`,
  json: JSON.stringify({
    workflow: 'video/talking-head',
    priority: 70,
    fail_fast: false,
    metadata: { experiment: 'april-formula-sweep', source: 'ci' },
    state: { request_id: 'req_abc123', customer_id: 'cust_xyz' },
    parent: { run_id: SEED_PARENT, variant_index: 1 },
    input: {
      topic: 'overthinking',
      script_formula: 'reframe',
      variants: 3,
      regenerate: { direction: 'more humor', keep: ['script', 'voice'] },
      style: 'punchy',
      quality: 'high',
    },
  }),
}

/** The documentation's bundle, and the same in the other two formats. */
export const SEED_BUNDLE = {
  yaml: `workflow: bundle/ad-hoc
bundle:
  - workflow: video/talking-head
    input: { topic: overthinking, script_formula: reframe }
  - workflow: hooks/generate
    input: { topic: overthinking, count: 5 }
`,
  toml: `workflow = "bundle/ad-hoc"

[[bundle]]
workflow = "video/talking-head"
input = { topic = "overthinking", script_formula = "reframe" }

[[bundle]]
workflow = "hooks/generate"
input = { topic = "overthinking", count = 5 }
`,
  json: JSON.stringify({
    workflow: 'bundle/ad-hoc',
    bundle: [
      { workflow: 'video/talking-head', input: { topic: 'overthinking', script_formula: 'reframe' } },
      { workflow: 'hooks/generate', input: { topic: 'overthinking', count: 5 } },
    ],
  }),
}
