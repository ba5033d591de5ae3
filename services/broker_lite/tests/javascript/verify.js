// Verifies what a broker offers, with the options that the environment variable OPTIONS holds as JSON. Exits 1 if the
// run has failed.
import { Verifier } from "@pact-foundation/pact";

try {
  await new Verifier(JSON.parse(process.env.OPTIONS)).verifyProvider();
} catch (error) {
  console.error(String(error));
  process.exitCode = 1;
}
