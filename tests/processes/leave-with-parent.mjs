// Preloaded into every process that a test starts: it ends when the test's process does, however that ends.
process.once("disconnect", () => process.exit(1));
// That alone is no reason to stay.
process.channel?.unref();
