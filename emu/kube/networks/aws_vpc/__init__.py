"""Pod network `aws-vpc`: the Amazon VPC CNI, with its daemon ipamd. Must not know pods."""
