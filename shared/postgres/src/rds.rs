//! What the name of an RDS endpoint says.

/// The domain of RDS endpoints, after the region.
pub const DOMAIN: &str = ".rds.amazonaws.com";

/// The region in the name of an endpoint of RDS.
#[must_use]
pub fn region_of(host: &str) -> Option<&str> {
    host.strip_suffix(DOMAIN)?.rsplit_once('.').map(|(_, region)| region)
}
