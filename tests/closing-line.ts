import type { Reporter, TestModule } from "vitest/node";

/** Prints `N passed, N failed` alone on the last line, which is what CI reads. No test at all is a failure. */
export default class ClosingLine implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], errors: readonly unknown[]): void {
    let [passed, failed, skipped] = [0, errors.length, 0];
    for (const module of modules) {
      failed += module.errors().length;
      for (const test of module.children.allTests()) {
        const { state } = test.result();
        if (state === "passed") passed++;
        else if (state === "failed") failed++;
        else skipped++;
      }
    }
    const line = `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`;
    process.on("exit", () => {
      process.stdout.write(`\n${line}\n`);
      if (passed + failed === 0) process.exitCode = 1;
    });
  }
}
