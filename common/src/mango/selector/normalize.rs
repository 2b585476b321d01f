//! Brings a selector into the one form that everything else reads.
//!
//! Three steps, as CouchDB takes them, since its explanations show the outcome: operators become explicit and are
//! checked; field names move down to the operators; negations move down too, where `$not` would hide what an index can
//! serve. The outcome is a value of objects with one member each.

use std::borrow::Cow;

use super::super::erlang::plain;
use super::super::error::Error;
use super::super::value::Value;

/// A selector in normal form.
pub(super) fn normalize(selector: Value<'_>) -> Result<Value<'_>, Error> {
    match &selector {
        Value::Object(members) if members.is_empty() => return Ok(selector),
        Value::Object(_) => {}
        other => return Err(Error::SelectorNotObject(plain(other))),
    }
    let normal = negations(fields(operators(selector)?, "")?)?;
    match &normal {
        Value::Object(members) if members.iter().any(|(name, _)| name.is_empty()) => Err(Error::FieldMissing),
        _ => Ok(normal),
    }
}

/// An object with one member.
fn one<'t>(name: impl Into<Cow<'t, str>>, value: Value<'t>) -> Value<'t> {
    Value::Object(vec![(name.into(), value)])
}

/// Takes an object with one member apart.
fn single(value: Value<'_>) -> Result<(Cow<'_, str>, Value<'_>), Value<'_>> {
    match value {
        Value::Object(mut members) if members.len() == 1 => {
            let (name, value) = members.remove(0);
            Ok((name, value))
        }
        other => Err(other),
    }
}

fn each<'t>(
    items: Vec<Value<'t>>,
    step: impl FnMut(Value<'t>) -> Result<Value<'t>, Error>,
) -> Result<Value<'t>, Error> {
    items.into_iter().map(step).collect::<Result<_, _>>().map(Value::Array)
}

/// Makes every operator explicit: a bare value asks for equality, several members ask for all of them.
fn operators(value: Value<'_>) -> Result<Value<'_>, Error> {
    match value {
        Value::Object(members) if members.len() > 1 => {
            let all = members.into_iter().map(|(name, value)| one(name, value)).collect();
            Ok(one("$and", each(all, operators)?))
        }
        value => match single(value) {
            Ok((name, argument)) if name.starts_with('$') => operator(name, argument),
            Ok((name, condition)) => Ok(one(name, operators(condition)?)),
            Err(bare) => Ok(one("$eq", bare)),
        },
    }
}

/// Checks an operator and its argument.
fn operator<'t>(name: Cow<'t, str>, argument: Value<'t>) -> Result<Value<'t>, Error> {
    let bad = |operator, argument: &Value<'_>| Error::BadArgument { operator, argument: plain(argument) };
    let argument = match (known(&name), argument) {
        (Some("$and" | "$or" | "$nor"), Value::Array(items)) => each(items, operators)?,
        (Some("$not" | "$elemMatch" | "$allMatch" | "$keyMapMatch"), object @ Value::Object(_)) => operators(object)?,
        (Some("$in" | "$nin" | "$all"), list @ Value::Array(_)) => list,
        (Some("$exists"), truth @ Value::Bool(_)) => truth,
        (Some("$type" | "$regex" | "$beginsWith"), text @ Value::String(_)) => text,
        (Some("$mod"), Value::Array(pair)) if is_division(&pair) => Value::Array(pair),
        (Some("$size"), Value::Number(size)) if size.is_integer() && size.nearest() >= 0.0 => Value::Number(size),
        (Some("$lt" | "$lte" | "$eq" | "$ne" | "$gte" | "$gt"), any) => any,
        (Some("$text"), _) => return Err(Error::NoTextService),
        // As CouchDB, which looks for prefixes that are text and knows no other use of the name.
        (Some("$beginsWith") | None, _) => return Err(Error::Operator(name.into_owned())),
        (Some(unsupported @ ("$where" | "$geoWithin" | "$geoIntersects" | "$near" | "$nearSphere")), _) => {
            return Err(Error::Unsupported(unsupported));
        }
        (Some(operator), argument) => return Err(bad(operator, &argument)),
    };
    Ok(one(name, argument))
}

/// A divisor and a remainder; nothing can be divided by zero.
fn is_division(pair: &[Value<'_>]) -> bool {
    match pair {
        [Value::Number(divisor), Value::Number(rest)] => {
            divisor.as_i64().is_some_and(|divisor| divisor != 0) && rest.is_integer()
        }
        _ => false,
    }
}

fn known(name: &str) -> Option<&'static str> {
    const ALL: [&str; 28] = [
        "$and",
        "$or",
        "$nor",
        "$not",
        "$elemMatch",
        "$allMatch",
        "$keyMapMatch",
        "$in",
        "$nin",
        "$all",
        "$exists",
        "$type",
        "$regex",
        "$beginsWith",
        "$mod",
        "$size",
        "$lt",
        "$lte",
        "$eq",
        "$ne",
        "$gte",
        "$gt",
        "$text",
        "$where",
        "$geoWithin",
        "$geoIntersects",
        "$near",
        "$nearSphere",
    ];
    ALL.into_iter().find(|known| *known == name)
}

/// Moves field names down to the operators: `{"a": {"b": {"$gt": 1}}}` becomes `{"a.b": {"$gt": 1}}`.
fn fields<'t>(value: Value<'t>, path: &str) -> Result<Value<'t>, Error> {
    match single(value) {
        Ok((name, argument)) => match (&*name, argument) {
            ("$and" | "$or" | "$nor", Value::Array(items)) => Ok(one(name, each(items, |item| fields(item, path))?)),
            ("$not", argument) => Ok(one(name, fields(argument, path)?)),
            ("$elemMatch" | "$allMatch" | "$keyMapMatch", argument) => {
                // What is below names fields of the elements, not of the document.
                Ok(one(path.to_owned(), one(name, fields(argument, "")?)))
            }
            (operator, argument) if operator.starts_with('$') => Ok(one(path.to_owned(), one(name, argument))),
            (field, condition) if path.is_empty() => {
                let field = field.to_owned();
                fields(condition, &field)
            }
            (field, condition) => fields(condition, &format!("{path}.{field}")),
        },
        Err(other) => Err(Error::BadField(plain(&other))),
    }
}

/// Moves negations down to the operators, as far as these have opposites.
fn negations(value: Value<'_>) -> Result<Value<'_>, Error> {
    let (name, argument) = single(value).map_err(|other| Error::BadField(plain(&other)))?;
    match (&*name, argument) {
        ("$not", argument) => negate(argument),
        ("$nor", Value::Array(items)) => Ok(one("$and", each(items, negate)?)),
        ("$and" | "$or", Value::Array(items)) => Ok(one(name, each(items, negations)?)),
        // What is asked of an array's elements stays as it is: an element without the field does match `$not`.
        (_, argument) => Ok(one(name, argument)),
    }
}

fn negate(value: Value<'_>) -> Result<Value<'_>, Error> {
    let (name, argument) = single(value).map_err(|other| Error::BadField(plain(&other)))?;
    let opposite = match &*name {
        "$lt" => "$gte",
        "$lte" => "$gt",
        "$eq" => "$ne",
        "$ne" => "$eq",
        "$gte" => "$lt",
        "$gt" => "$lte",
        "$in" => "$nin",
        "$nin" => "$in",
        _ => return negate_tree(name, argument),
    };
    Ok(one(opposite, argument))
}

fn negate_tree<'t>(name: Cow<'t, str>, argument: Value<'t>) -> Result<Value<'t>, Error> {
    match (&*name, argument) {
        ("$not", argument) => negations(argument),
        ("$nor", Value::Array(items)) => Ok(one("$or", each(items, negations)?)),
        ("$and", Value::Array(items)) => Ok(one("$or", each(items, negate)?)),
        ("$or", Value::Array(items)) => Ok(one("$and", each(items, negate)?)),
        ("$exists", Value::Bool(exists)) => Ok(one("$exists", Value::Bool(!exists))),
        (operator, argument) if operator.starts_with('$') => Ok(one("$not", one(name, argument))),
        (_, argument) => Ok(one(name, negate(argument)?)),
    }
}
