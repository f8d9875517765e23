import { equal } from "node:assert/strict";
import { isMetadataAddress } from "../../../lib/platform/connect.ts";

Deno.test("isMetadataAddress: returns true for the documented addresses in any notation", () => {
  for (
    const address of [
      "169.254.169.254", // AWS, Azure, Google Cloud, OpenStack, Oracle
      "169.254.170.2", // AWS ECS
      "169.254.170.23", // AWS EKS pod identity
      "169.254.0.1",
      "100.100.100.200", // Alibaba Cloud
      "168.63.129.16", // Azure
      "fd00:ec2::23",
      "fd00:ec2::254",
      "FD00:0EC2:0:0::0254",
      "fd20:ce::254", // Google Cloud
      "fe80::a9fe:a9fe",
      "fe80::1%eth0",
      "febf::1",
      "::ffff:169.254.169.254",
      "::ffff:a9fe:a9fe",
      "0:0:0:0:0:ffff:6464:64c8",
      "not an address",
      "",
      "2852039166",
      "1:2",
    ]
  ) equal(isMetadataAddress(address), true, address);
});

Deno.test("isMetadataAddress: returns false for other addresses, including private and loopback", () => {
  for (
    const address of [
      "127.0.0.1",
      "10.1.2.3",
      "100.100.100.201",
      "169.253.169.254",
      "::1",
      "::ffff:10.0.0.1",
      "fd00:ec2::1",
      "fec0::1",
      "2001:db8::169.254.169.254",
    ]
  ) equal(isMetadataAddress(address), false, address);
});
