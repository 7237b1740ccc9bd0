-- People who work in the product at customers that have not taken up a key feature, one list for each feature.
{{ config(meta={"sync": {
    "kind": "segment",
    "destinations": ["hubspot"],
    "key": "contact_id",
    "group_key": "feature",
    "list": "Not using",
}}) }}

with

contacts as (

    select * from {{ ref('contacts') }}

),

journey as (

    select * from {{ ref('customer_journey') }}

),

feature_adoption as (

    select * from {{ ref('feature_adoption') }}

),

final as (

    select
        contacts.contact_id,
        contacts.customer_id,
        contacts.email,
        feature_adoption.feature,
        {{ sentence([
            'feature_adoption.feature_name_en',
            "case feature_adoption.adoption_status"
            " when 'never_used' then ' was never used'"
            " when 'lapsed' then ' was given up, last used on '"
            " else ' was only tried, last used on ' end",
            "case when feature_adoption.adoption_status = 'never_used' then ''"
            " else cast(cast(feature_adoption.last_used_at as date) as " ~ dbt.type_string() ~ ") end",
        ]) }} as reason
    from contacts
    inner join journey
        on contacts.customer_id = journey.customer_id
    inner join feature_adoption
        on contacts.customer_id = feature_adoption.customer_id
    where
        journey.journey_stage in ('adoption', 'growth')
        and feature_adoption.is_key_feature
        and feature_adoption.adoption_status <> 'adopted'
        and contacts.role in ('admin', 'operator')
        and contacts.active_days_28d >= {{ threshold('feature_nudge_min_active_days') }}

)

select * from final
