// Reads {bundle, key} and prints "good", or why sigstore-js refuses it.
// Run as: node verify.cjs NODE_MODULES
const { readFileSync } = require("node:fs");
const { createPublicKey } = require("node:crypto");
const { join } = require("node:path");

const modules = process.argv[2];
const { bundleFromJSON } = require(join(modules, "@sigstore/bundle"));
const { Verifier, toSignedEntity } = require(join(modules, "@sigstore/verify"));

const told = JSON.parse(readFileSync(0, "utf8"));
const material = {
  certificateAuthorities: [],
  timestampAuthorities: [],
  tlogs: [],
  ctlogs: [],
  publicKey: () => ({ publicKey: createPublicKey(told.key), validFor: () => true }),
};
const none = { ctlogThreshold: 0, tlogThreshold: 0, tsaThreshold: 0, timestampThreshold: 0 };

try {
  new Verifier(material, none).verify(toSignedEntity(bundleFromJSON(told.bundle)));
  console.log("good");
} catch (error) {
  console.log(`${error.code ?? error.name}: ${error.message}`);
}
