with

source as (

    select
        *,
        {{ load_rank(['organization_id', 'domain_name'], '_fivetran_synced') }} as load_rank
    from {{ source('raw_zendesk', 'domain_name') }}

),

renamed as (

    select
        ---------- ids
        cast(organization_id as {{ dbt.type_string() }}) as zendesk_organization_id,
        ---------- attributes
        lower(trim(domain_name)) as domain,
        {{ utc_timestamp('_fivetran_synced') }} as loaded_at
    from source
    where
        load_rank = 1
        and organization_id is not null
        and domain_name is not null

)

select * from renamed
