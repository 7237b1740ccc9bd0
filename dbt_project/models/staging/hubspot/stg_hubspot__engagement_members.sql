with

ranked_contacts as (

    select
        *,
        {{ load_rank(['engagement_id', 'contact_id'], '_landed_at') }} as load_rank
    from {{ landed('hubspot', 'engagement_contact', ['engagement_id', 'contact_id'], optional=true) }}

),

ranked_companies as (

    select
        *,
        {{ load_rank(['engagement_id', 'company_id'], '_landed_at') }} as load_rank
    from {{ landed('hubspot', 'engagement_company', ['engagement_id', 'company_id'], optional=true) }}

),

contacts as (

    select
        cast(engagement_id as {{ dbt.type_string() }}) as engagement_id,
        cast(contact_id as {{ dbt.type_string() }}) as hubspot_contact_id
    from ranked_contacts
    where
        load_rank = 1
        and not _is_deleted
        and engagement_id is not null

),

companies as (

    select
        cast(engagement_id as {{ dbt.type_string() }}) as engagement_id,
        cast(company_id as {{ dbt.type_string() }}) as hubspot_company_id
    from ranked_companies
    where
        load_rank = 1
        and not _is_deleted
        and engagement_id is not null

),

final as (

    select
        coalesce(contacts.engagement_id, companies.engagement_id) as engagement_id,
        contacts.hubspot_contact_id,
        companies.hubspot_company_id
    from contacts
    full outer join companies
        on contacts.engagement_id = companies.engagement_id

)

select * from final
