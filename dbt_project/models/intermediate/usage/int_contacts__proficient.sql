-- How well a contact knows the product, by what it did in 28 days: the highest level whose every minimum it reaches.
with

contacts_used as (

    select * from {{ ref('int_contacts__used') }}

),

levels as (

    select * from {{ ref('proficiency_levels') }}

),

reached as (

    select
        contacts_used.contact_id,
        max(levels.level) as level
    from contacts_used
    inner join levels
        on
            contacts_used.active_days_28d >= levels.min_active_days_28d
            and contacts_used.features_28d >= levels.min_features_28d
            and contacts_used.key_features_28d >= levels.min_key_features_28d
    group by contacts_used.contact_id

),

final as (

    select
        reached.contact_id,
        levels.proficiency,
        levels.level
    from reached
    inner join levels
        on reached.level = levels.level

)

select * from final
