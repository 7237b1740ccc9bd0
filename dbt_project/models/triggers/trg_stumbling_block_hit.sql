-- An error stopped somebody and they have not used the feature since: send the advice for that very error.
-- One episode per person, feature and error: closed by using the feature, or when it has not shown for stumble_quiet_days.
{{ config(meta={"sync": {
    "kind": "trigger",
    "channel": "email",
    "key": "event_id",
    "template": "stumbling_block_hit",
}}) }}

with

errors as (

    select * from {{ ref('stg_segment__errors') }}

),

product_users as (

    select * from {{ ref('int_product_users__identified') }}

),

features as (

    select * from {{ ref('features') }}

),

features_used as (

    select * from {{ ref('int_contact_features__used') }}

),

contacts as (

    select * from {{ ref('contacts') }}

),

customers as (

    select * from {{ ref('customers') }}

),

hits as (

    select
        product_users.contact_id,
        features.feature,
        features.feature_name_en,
        features.feature_name_ja,
        errors.error_code,
        errors.occurred_at,
        {{ days_between(
            'lag(errors.occurred_at) over (partition by product_users.contact_id, features.feature, errors.error_code order by errors.occurred_at)',
            'errors.occurred_at'
        ) }} as days_since_hit
    from errors
    inner join product_users
        on errors.user_id = product_users.user_id
    inner join features
        on errors.feature = features.event
    where
        product_users.contact_id is not null
        and errors.error_code is not null

),

-- after a quiet time an error is a new one, and then it may show often
begun as (

    select
        contact_id,
        feature,
        feature_name_en,
        feature_name_ja,
        error_code,
        min(occurred_at) as first_hit_at,
        cast(min(occurred_at) as date) as opened_date
    from hits
    where
        days_since_hit is null
        or days_since_hit >= {{ threshold('stumble_quiet_days') }}
    group by
        contact_id,
        feature,
        feature_name_en,
        feature_name_ja,
        error_code,
        cast(occurred_at as date)

),

opened as (

    select
        customers.customer_id,
        begun.contact_id,
        {{ dbt.concat(['begun.feature', "':'", 'begun.error_code']) }} as subject,
        begun.opened_date,
        begun.feature,
        begun.feature_name_en,
        begun.feature_name_ja,
        begun.error_code
    from begun
    inner join contacts
        on begun.contact_id = contacts.contact_id
    inner join customers
        on contacts.customer_id = customers.customer_id
    left join features_used
        on
            begun.contact_id = features_used.contact_id
            and begun.feature = features_used.feature
            and features_used.last_used_at > begun.first_hit_at
    where
        {{ is_candidate('begun.opened_date') }}
        and customers.journey_stage <> 'churned'
        -- who got on with it needs no advice
        and features_used.contact_id is null

),

identified as (

    select * from {{ episodes('stumbling_block_hit', 'opened') }} as known_episodes

),

described as (

    select
        identified.event_id,
        identified.customer_id,
        identified.contact_id,
        identified.subject,
        contacts.email,
        contacts.full_name as contact_name,
        contacts.language,
        cast(identified.opened_date as {{ dbt.type_timestamp() }}) as occurred_at,
        {{ sentence([
            "'Met the error '",
            'identified.error_code',
            "' in '",
            'identified.feature_name_en',
        ]) }} as reason,
        customers.customer_name,
        identified.feature,
        case contacts.language when 'ja' then identified.feature_name_ja else identified.feature_name_en end as feature_name,
        identified.error_code
    from identified
    inner join contacts
        on identified.contact_id = contacts.contact_id
    inner join customers
        on identified.customer_id = customers.customer_id

),

final as (

    select * from {{ advised('described', 'error_advice', ['feature', 'error_code']) }} as advised_rows

)

select * from final
