with

source as (

    select
        *,
        {{ load_rank(['organization_id', 'domain_name'], '_landed_at') }} as load_rank
    from {{ zendesk('domain_name') }}

),

renamed as (

    select
        ---------- ids
        cast(organization_id as {{ dbt.type_string() }}) as zendesk_organization_id,
        ---------- attributes
        lower(trim(domain_name)) as domain,
        {{ utc_timestamp('_landed_at') }} as loaded_at
    from source
    where
        load_rank = 1
        and not _is_deleted
        and organization_id is not null
        and domain_name is not null

)

select * from renamed
