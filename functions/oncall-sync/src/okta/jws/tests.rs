use super::*;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};

/// The example key of RFC 7515, A.2.
fn rsa_jwk() -> Map<String, Value> {
    let Value::Object(jwk) = json!({
        "kty": "RSA",
        "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ",
        "e": "AQAB",
        "d": "Eq5xpGnNCivDflJsRQBXHx1hdR1k6Ulwe2JZD50LpXyWPEAeP88vLNO97IjlA7_GQ5sLKMgvfTeXZx9SE-7YwVol2NXOoAJe46sui395IW_GO-pWJ1O0BkTGoVEn2bKVRUCgu-GjBVaYLU6f3l9kJfFNS3E0QbVdxzubSu3Mkqzjkn439X0M_V51gfpRLI9JYanrC4D4qAdGcopV_0ZHHzQlBjudU2QvXt4ehNYTCBr6XCLQUShb1juUO1ZdiYoFaFQT5Tw8bGUl_x_jTj3ccPDVZFD9pIuhLhBOneufuBiB4cS98l2SR_RQyGWSeWjnczT0QU91p1DhOVRuOopznQ",
        "p": "4BzEEOtIpmVdVEZNCqS7baC4crd0pqnRH_5IB3jw3bcxGn6QLvnEtfdUdiYrqBdss1l58BQ3KhooKeQTa9AB0Hw_Py5PJdTJNPY8cQn7ouZ2KKDcmnPGBY5t7yLc1QlQ5xHdwW1VhvKn-nXqhJTBgIPgtldC-KDV5z-y2XDwGUc",
        "q": "uQPEfgmVtjL0Uyyx88GZFF1fOunH3-7cepKmtH4pxhtCoHqpWmT8YAmZxaewHgHAjLYsp1ZSe7zFYHj7C6ul7TjeLQeZD_YwD66t62wDmpe_HlB-TnBA-njbglfIsRLtXlnDzQkv5dTltRJ11BKBBypeeF6689rjcJIDEz9RWdc",
        "dp": "BwKfV3Akq5_MFZDFZCnW-wzl-CCo83WoZvnLQwCTeDv8uzluRSnm71I3QCLdhrqE2e9YkxvuxdBfpT_PI7Yz-FOKnu1R6HsJeDCjn12Sk3vmAktV2zb34MCdy7cpdTh_YVr7tss2u6vneTwrA86rZtu5Mbr1C1XsmvkxHQAdYo0",
        "dq": "h_96-mK1R_7glhsum81dZxjTnYynPbZpHziZjeeHcXYsXaaMwkOlODsWa7I9xXDoRwbKgB719rrmI2oKr6N3Do9U0ajaHF-NKJnwgjMd2w9cjz3_-kyNlxAr2v4IKhGNpmM5iIgOS1VZnOZ68m6_pbLBSp3nssTdlqvd0tIiTHU",
        "qi": "IYd7DHOhrWvxkwPQsRM2tOgrjbcrfvtQJipd-DlcxyVuuM9sQLdgjVk2oy26F0EmpScGLq2MowX7fhd_QJQ3ydy5cY7YIBi87w93IKLEdfnbJtoOPLUW0ITrJReOgo1cq9SbsxYawBgfp_gh6A5603k2-ZQwVK0JKSHuLFkuQ3U",
    }) else {
        panic!("an object");
    };
    jwk
}

fn pem(der: &[u8]) -> String {
    format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(der))
}

/// One element of DER: its tag, its length in the shortest form, its content.
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(content.len()).unwrap().to_be_bytes();
    let length = match (high, low) {
        (0, ..0x80) => vec![low],
        (0, _) => vec![0x81, low],
        _ => vec![0x82, high, low],
    };
    [&[tag], &length[..], content].concat()
}

/// The same key as PKCS#8.
fn rsa_pem() -> String {
    let jwk = rsa_jwk();
    let numbers = ["n", "e", "d", "p", "q", "dp", "dq", "qi"].map(|name| {
        let bytes = bytes_of(&jwk, name).unwrap();
        // A first bit that is set would mean a negative number.
        der(2, &if bytes[0] < 0x80 { bytes } else { [vec![0], bytes].concat() })
    });
    let key = der(0x30, &[der(2, &[0]), numbers.concat()].concat());
    let algorithm = [0x30, 13, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1, 5, 0];
    pem(&der(0x30, &[der(2, &[0]), algorithm.to_vec(), der(4, &key)].concat()))
}

/// Checks a compact JWS with the key's own public half, and gives its header and claims.
fn verified(key: &Key, jws: &str) -> (Value, Value) {
    let (signed, signature) = jws.rsplit_once('.').unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let fine = match key {
        Key::Rsa(pair) => {
            UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, pair.public()).verify(signed.as_bytes(), &signature)
        }
        Key::Ec(pair) => {
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, pair.public_key()).verify(signed.as_bytes(), &signature)
        }
    };
    assert!(fine.is_ok());
    let json = |text: &str| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap();
    let (header, claims) = signed.split_once('.').unwrap();
    (json(header), json(claims))
}

#[test]
fn signs_as_the_standards_example_does() {
    let claims = "{\"iss\":\"joe\",\r\n \"exp\":1300819380,\r\n \"http://example.com/is_root\":true}";
    let expected = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
    let key = Key::from_jwk(&rsa_jwk()).unwrap();
    assert_eq!(key.sign_text("{\"alg\":\"RS256\"}", claims).unwrap(), expected);
}

#[test]
fn every_kind_of_key_signs_what_its_public_half_verifies() {
    let document = EcdsaKeyPair::generate_pkcs8(&ES256, &SystemRandom::new()).unwrap();
    let keys = [
        (Key::from_jwk(&rsa_jwk()).unwrap(), "RS256"),
        (Key::from_pem(&rsa_pem()).unwrap(), "RS256"),
        (Key::from_pem(&pem(document.as_ref())).unwrap(), "ES256"),
        (Key::ephemeral().unwrap(), "ES256"),
    ];
    for (key, algorithm) in keys {
        assert_eq!(key.algorithm(), algorithm);
        let (header, claims) = (json!({"alg": algorithm}), json!({"iss": "0oa1", "jti": unique_id().unwrap()}));
        let signed = key.sign(&header, &claims).unwrap();
        assert_eq!(verified(&key, &signed), (header, claims));
    }
}

#[test]
fn an_ec_keys_public_half_is_what_its_jwk_says() {
    // RFC 7515, A.3.
    let Value::Object(jwk) = json!({
        "kty": "EC",
        "crv": "P-256",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
        "d": "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI",
    }) else {
        panic!("an object");
    };
    let public = Key::from_jwk(&jwk).unwrap().public_ec_jwk().unwrap();
    assert_eq!(public.as_object().unwrap().len(), 4, "no private member");
    for name in ["kty", "crv", "x", "y"] {
        assert_eq!(public[name], jwk[name]);
    }
    assert!(Key::from_jwk(&rsa_jwk()).unwrap().public_ec_jwk().is_none());
}

#[test]
fn says_what_is_wrong_with_a_jwk() {
    for (name, value, why) in [
        ("kty", json!("oct"), "neither RSA nor EC"),
        ("kty", json!("EC"), "not P-256"),
        ("qi", json!(null), "without qi"),
        ("p", json!("!"), "p is no base64url"),
        ("d", json!("AQAB"), "no usable RSA key"),
    ] {
        let mut jwk = rsa_jwk();
        jwk.insert(name.to_owned(), value);
        let refusal = Key::from_jwk(&jwk).err().unwrap();
        assert!(refusal.contains(why), "{refusal}");
    }
}

#[test]
fn says_what_is_wrong_with_a_pem_text() {
    for (text, why) in [
        (pem(b"nothing"), "neither an RSA key"),
        (rsa_pem().replace("PRIVATE", "RSA PRIVATE"), "no PEM text with a PKCS#8 key"),
        (rsa_pem().replace("PRIVATE", "PUBLIC"), "no PEM text with a PKCS#8 key"),
        (String::new(), "no PEM text"),
    ] {
        let refusal = Key::from_pem(&text).err().unwrap();
        assert!(refusal.contains(why), "{refusal}");
    }
}
