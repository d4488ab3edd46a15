// The options of every floor job: the same delivery as ours, with nothing kept.
// Hides that a priority is always set, since BullMQ treats jobs without one differently.
export const FLOOR_JOB = { priority: 51, attempts: 1, removeOnComplete: true, removeOnFail: true }
